"""Where runs keep what they make: files on a disk or in an object store, the work directory, keep-lists."""
