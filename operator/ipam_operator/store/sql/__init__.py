"""SQL that the stores send, in named blocks: `-- name: x` and then one statement."""
