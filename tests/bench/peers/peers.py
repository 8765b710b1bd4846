"""Times attention of other libraries on the shapes of a JSON file.

Reads {"rounds": n, "rows": [{"name", "threads", "causal", "dims"}]} from the file that is
named, prints {"seconds": {row: {"torch": s, "ort": s}}, "missing": hint} to standard
output. dims are batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim; causal is
aligned to the bottom right, and its rows have q_len = kv_len.
"""
import json
import statistics
import sys
import time


def median_seconds(run, rounds):
    run()
    run()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


class Torch:
    name = "torch"
    needs = "torch"

    def __init__(self):
        import torch

        self.torch = torch

    def runner(self, row):
        torch = self.torch
        batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim = row["dims"]
        torch.set_num_threads(row["threads"])
        query = torch.randn(batch, heads, q_len, head_dim)
        key = torch.randn(batch, kv_heads, kv_len, head_dim)
        value = torch.randn(batch, kv_heads, kv_len, value_dim)
        attend = torch.nn.functional.scaled_dot_product_attention
        grouped = {"enable_gqa": True} if heads != kv_heads else {}

        def run():
            with torch.inference_mode():
                attend(query, key, value, is_causal=row["causal"], **grouped)

        return run


class Ort:
    """The contrib operators MultiHeadAttention and, for shared key heads, GroupQueryAttention."""

    name = "ort"
    needs = "onnxruntime onnx numpy"

    def __init__(self):
        import numpy
        import onnx
        import onnxruntime

        self.numpy, self.onnx, self.ort = numpy, onnx, onnxruntime

    def runner(self, row):
        batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim = row["dims"]
        shapes = {
            "query": (batch, q_len, heads * head_dim),
            "key": (batch, kv_len, kv_heads * head_dim),
            "value": (batch, kv_len, kv_heads * value_dim),
        }
        random = self.numpy.random.default_rng(1)
        feed = {name: random.standard_normal(shape, dtype="float32") for name, shape in shapes.items()}
        if heads == kv_heads:
            model = self.model("MultiHeadAttention", feed, num_heads=heads, unidirectional=int(row["causal"]))
        elif row["causal"] and head_dim == value_dim and q_len == kv_len:
            feed["seqlens_k"] = self.numpy.full((batch,), kv_len - 1, dtype="int32")
            feed["total"] = self.numpy.array(kv_len, dtype="int32")
            model = self.model("GroupQueryAttention", feed, num_heads=heads, kv_num_heads=kv_heads)
        else:
            return None
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = row["threads"]
        session = self.ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(["output"], feed)

    def model(self, operator, feed, **attributes):
        helper, tensor = self.onnx.helper, self.onnx.TensorProto
        types = {"float32": tensor.FLOAT, "int32": tensor.INT32}
        inputs = [
            helper.make_tensor_value_info(name, types[str(array.dtype)], array.shape) for name, array in feed.items()
        ]
        names = ["query", "key", "value"]
        outputs = ["output"]
        if operator == "GroupQueryAttention":
            names += ["", "", "seqlens_k", "total"]
            outputs += ["present_key", "present_value"]
        node = helper.make_node(operator, names, outputs, domain="com.microsoft", **attributes)
        result = helper.make_tensor_value_info("output", tensor.FLOAT, None)
        graph = helper.make_graph([node], "attention", inputs, [result])
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        question = json.load(file)
    seconds, missing = {}, []
    for library in (Torch, Ort):
        try:
            peer = library()
        except ImportError:
            missing.append(f"{library.name}: not installed; python3 -m pip install {library.needs}")
            continue
        for row in question["rows"]:
            try:
                run = peer.runner(row)
                if run is not None:
                    found = seconds.setdefault(row["name"], {})
                    found[peer.name] = median_seconds(run, question["rounds"])
            except Exception as error:  # a shape that a peer refuses must not hide the others
                print(f"{peer.name} {row['name']}: {error}", file=sys.stderr)
    print(json.dumps({"seconds": seconds, "missing": "\n".join(missing)}))


if __name__ == "__main__":
    main()
