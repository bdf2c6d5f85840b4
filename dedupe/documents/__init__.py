"""Documents from structured rows: what a template gives for each row of a table.

    template      templates, and the paths in them
    shapes        the common shapes of rows
    mixed         corpora whose files are of several of them
    columns       documents of Arrow data, whole columns at a time
    objects       documents of JSON objects, one by one
    json_columns  JSON in columns of Arrow data, one value after the other
    rules         names that messages have

The leaf of a path is rendered by its type, and the rule is the same for Arrow data (`columns`) and
for rows of JSON whose types change from one to the next (`objects`):

    text        as it is
    list        its elements, a newline between them
    message     an object with `content` or `value`: who speaks (`role`, or `from`), then what is
                said: content, `reasoning_content`, `function_call` and `tool_calls`
    content     text, a part, or a list of them; of a part or tool call its `text`, then the rest
                of it as data, but for what only numbers or marks it
    data        text as it is, a number or boolean as Arrow writes it, a list as its elements, an
                object as names and values in the order of the names

What is null or has no bytes is nothing, and leaves no newline; a message that says nothing is left
out with its role. A row of whose paths none gives anything is null.
"""
