"""Attention of another library, a turn at a time, for attnd_bench.

`peer.py torch` or `peer.py ort` prints a line {"version", "isa"} or {"missing": hint} and then
answers each line of standard input with one:
  {"open": row}      {"ok": true}, or {"ok": false, "why": reason} if the library cannot do that
  {"turn": seconds}  {"seconds": per run}, of as many runs as take that long
A row is {"dims", "causal", "option", "dtype", "threads", "window", "document", "lengths"}; dims are
batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim. Causal rows have q_len = kv_len.
Rows of another kind than attention say so:
  {"kind": "linear", "rows", "in", "out", "dtype", "threads"}, with a bias
  {"kind": "layer", "batch", "length", "width", "heads", "ffn_width", "activation": "relu" or "gelu",
   "norm_first", "dtype", "threads"}: a transformer layer, self-attention of the whole length
"""
import importlib
import json
import os
import sys
import time


def turn(run, clock, least):
    runs = 0
    begin = clock()
    while True:
        run()
        runs += 1
        elapsed = clock() - begin
        if elapsed >= least:
            return elapsed / runs


def main():
    # Libraries print to where the answers go.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**what):
        print(json.dumps(what), file=answers, flush=True)

    name = sys.argv[1]
    try:
        peer = importlib.import_module(f"{name}_peer").Peer()
    except (ImportError, OSError) as error:
        answer(missing=f"{name}: {error}")
        return
    answer(version=peer.version, isa=peer.isa)
    run, clock = None, None
    for line in sys.stdin:
        request = json.loads(line)
        if "turn" in request:
            answer(seconds=turn(run, clock, request["turn"]))
            continue
        run = None  # its memory goes first
        row = request["open"]
        # A single thread is the calling one in all of these libraries.
        clock = time.thread_time if row["threads"] == 1 else time.perf_counter
        try:
            run = peer.runner(row)
            if turn(run, clock, 0) < 1:
                run()
            answer(ok=True)
        except Exception as error:  # whatever a library does not want must not hide other rows
            run = None
            answer(ok=False, why=str(error).strip().split("\n")[0])


if __name__ == "__main__":
    main()
