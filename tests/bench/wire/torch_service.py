"""The service that most people would write: grpcio, generated messages and PyTorch.

torch_service.py PROTO prints "echo ready 127.0.0.1:PORT" and serves AttentionService.Attend until
its standard input ends. PROTO has the modules that protoc makes of the contract.
"""
import os
import sys
from concurrent import futures

sys.setdlopenflags(os.RTLD_LAZY | os.RTLD_GLOBAL)
sys.path.insert(0, sys.argv[1])
import grpc  # noqa: E402
import torch  # noqa: E402
from attnd.v1 import attention_pb2, tensor_pb2  # noqa: E402

METHOD = "/attnd.v1.AttentionService/Attend"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def tensor_of(wire):
    return torch.frombuffer(bytearray(wire.data), dtype=torch.float32).reshape(tuple(wire.shape))


def attend(request, _context):
    with torch.inference_mode():
        output = torch.nn.functional.scaled_dot_product_attention(
            tensor_of(request.query), tensor_of(request.key), tensor_of(request.value)
        )
    response = attention_pb2.AttendResponse()
    response.output.dtype = tensor_pb2.DATA_TYPE_FLOAT32
    response.output.shape.extend(output.shape)
    response.output.data = output.numpy().tobytes()
    return response


class Handlers(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(
            attend,
            request_deserializer=attention_pb2.AttendRequest.FromString,
            response_serializer=attention_pb2.AttendResponse.SerializeToString,
        )


def main():
    torch.set_num_threads(1)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=10), options=UNLIMITED)
    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"echo ready 127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(0)


if __name__ == "__main__":
    main()
