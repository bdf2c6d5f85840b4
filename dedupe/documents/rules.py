"""Names that messages and their parts have: both ways of rendering know them from here."""

ROLES = ("role", "from")
ANSWERERS = (
    "assistant", "gpt", "chatgpt", "model", "bot", "chatbot", "bard", "bing",
    "function_call", "tool_call",
)  # fmt: skip
"""Roles of the assistant, and of its calls of functions."""
CALLS = ("function_call", "tool_call")
"""Those of them that call functions."""
TOOLS = (
    "tool", "function", "ipython", "observation", "environment", "function_response",
    "tool_response",
)  # fmt: skip
"""Roles of what functions answer: part of the prompt."""
SYSTEMS = ("system", "developer")
"""Roles of who sets the scene; all others, and messages without a role, are the prompt."""
LETTERS = (("s", SYSTEMS), ("a", ANSWERERS), ("c", CALLS), ("t", TOOLS))
"""Who speaks, as the letter of a message: that of the last of these roles which it has, else p; a
capital one where nothing is said."""
SAID = ("content", "value")
"""Who speaks and what is said: the names of chat and those of ShareGPT."""
MORE_SAID = ("reasoning_content", "function_call", "tool_calls")
"""What a message can say besides."""
MESSAGE = (*ROLES, *SAID, *MORE_SAID)
PART_TEXT = "text"
"""The text of a part of a message's content."""
MARKS = frozenset({"type", "id", "index", "tool_call_id", "tool_use_id", "cache_control"})
"""Fields of a part, or of a tool call, that say nothing."""
MEDIA_PARTS = (
    "audio",
    "audio_url",
    "file",
    "image",
    "image_url",
    "input_audio",
    "source",
    "video",
    "video_url",
)
"""Fields of a part that hold or point to what is no text."""
FILE = ("bytes", "path")
"""Fields of a file as `datasets` has them: its bytes count, or its path where there are none."""
