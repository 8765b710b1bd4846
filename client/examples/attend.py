# Attention from Python. Needs: pip install grpcio grpcio-tools numpy
# Run it from the top of the source tree; the .proto files are compiled when they are imported.
import sys
import grpc
import numpy as np

sys.path.append("proto")
pb, rpc = grpc.protos_and_services("attnd/v1/attention.proto")
x = np.array([[0.2, 0.8, 0.1], [0.9, 0.3, 0.7], [0.4, 0.6, 0.5]], dtype="<f4")  # "The cat sat"
tensor = {"shape": x.shape, "data": x.tobytes()}
request = pb.AttendRequest(query=tensor, key=tensor, value=tensor, options={"scale": 1.0})
channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
reply = rpc.AttentionServiceStub(channel).Attend(request, timeout=10)
print(np.frombuffer(reply.output.data, dtype="<f4").reshape(reply.output.shape).round(4))
