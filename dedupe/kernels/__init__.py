"""Every numba kernel of the project, and nothing else: numpy arrays in, numpy arrays out.

    intrinsics  unaligned loads and stores, trailing zeros, 64 x 64 -> 128 bit multiplication
    unicode     NFKC, lower case and separators for any Unicode document (tables are shipped)
    text        document -> token hashes -> shingle hashes and the 128-bit digest
    minhash     shingle hashes -> signature -> band keys
    grouping    band records -> edges -> components
    verify      components and shingle sets -> witnesses and exact Jaccard

All kernels release the GIL and run on one thread: the engine owns parallelism.
They are compiled when a module is first imported and cached by numba beside it.
"""
