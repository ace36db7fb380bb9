"""What builds did: a record of each, and the answers that records give.

Comes in: the graph of a build and its events. Goes out: a record, and answers to questions about
it. A record has the graph, the key of each vertex, what happened and how long it took. The store
also keeps the parts of each key (`cache.records`), and a result is a list of diffs, each made by
one vertex. Every answer is a join of these three, made when somebody asks.

`recorder` and `writing` make records; `records` reads them; `causes` and `story` say why a step
ran; `planning` says what would run, `foresight` how it finds that out; `blame` says where a path
comes from; `replay` shows a build again; `lookup` says what a store knows, and takes a record to
another machine. Read next: `recorder`.
"""
