"""Health and reflection between the engine (its example `services`) and grpcio's own packages, both ways round."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BUILT = [TARGET / profile / "examples" / "services" for profile in ("release", "debug")]
OURS = next((path for path in BUILT if path.exists()), BUILT[0])
PATIENCE = 20

pytestmark = pytest.mark.skipif(not OURS.exists(), reason=f"the example was not built: {OURS}")


class Ours:
    """Our server; its input takes commands."""

    def __init__(self):
        self.process = subprocess.Popen([OURS, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.target = f"127.0.0.1:{self.process.stdout.readline().split()[1]}"

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@pytest.fixture
def ours():
    server = Ours()
    yield server
    server.process.stdin.close()
    assert server.process.wait(PATIENCE) == 0


@pytest.fixture
def channel(ours):
    with grpc.insecure_channel(ours.target) as channel:
        yield channel


class WithList(health.HealthServicer):
    """grpcio's own has no List yet."""

    def List(self, request, context):
        return health_pb2.HealthListResponse(
            statuses={name: health_pb2.HealthCheckResponse(status=status) for name, status in self._server_status.items()}
        )


class Theirs:
    """grpcio's server with its own health and reflection."""

    def __init__(self, names=(health.SERVICE_NAME, reflection.SERVICE_NAME), pool=None):
        self.server = grpc.server(ThreadPoolExecutor(8))
        self.health = WithList()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        reflection.enable_server_reflection(names, self.server, pool)
        self.target = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()


@pytest.fixture
def theirs():
    peer = Theirs()
    yield peer
    peer.server.stop(0).wait(PATIENCE)


def client(*arguments):
    return subprocess.run([OURS, *arguments], capture_output=True, text=True, timeout=PATIENCE)


def test_their_client_checks_our_server(ours, channel):
    stub = health_pb2_grpc.HealthStub(channel)
    check = lambda name: stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE).status
    assert check("") == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        check("demo.Echo")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    ours.tell("set demo.Echo NOT_SERVING")
    assert check("demo.Echo") == health_pb2.HealthCheckResponse.NOT_SERVING


def test_their_client_lists_our_statuses(ours, channel):
    ours.tell("set demo.Echo NOT_SERVING")
    answer = health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=PATIENCE)
    assert {name: entry.status for name, entry in answer.statuses.items()} == {"": 1, "demo.Echo": 2}


def test_their_client_watches_our_server(ours, channel):
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="demo.Echo"), timeout=PATIENCE)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    for status in ("SERVING", "NOT_SERVING", "SERVING"):
        ours.tell(f"set demo.Echo {status}")
        assert health_pb2.HealthCheckResponse.ServingStatus.Name(next(watch).status) == status
    ours.tell("clear demo.Echo")
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    ours.tell("set demo.Echo SERVING")
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    ours.tell("stop")
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()


def test_their_client_reflects_our_server(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert sorted(database.get_services()) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    pool = DescriptorPool(database)
    watch = pool.FindServiceByName("grpc.health.v1.Health").methods_by_name["Watch"]
    assert watch.server_streaming and watch.input_type.full_name == "grpc.health.v1.HealthCheckRequest"
    assert pool.FindMessageTypeByName("google.rpc.Status").fields_by_name["details"].message_type.full_name == "google.protobuf.Any"
    assert pool.FindFileByName("google/rpc/error_details.proto").dependencies[0].name == "google/protobuf/duration.proto"
    with pytest.raises(KeyError):
        pool.FindServiceByName("no.Such")


def test_our_descriptors_are_theirs_on_the_wire(channel):
    """Same names, numbers and types in the files both sides bring."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    for theirs in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        # grpcio's packages put their files under names of their own
        ours = pool.FindFileContainingSymbol(next(iter(theirs.services_by_name.values())).full_name)
        assert ours.package == theirs.package
        assert sorted(ours.message_types_by_name) == sorted(theirs.message_types_by_name)
        for name, message in theirs.message_types_by_name.items():
            shape = lambda m: sorted((f.number, f.name, f.type, f.is_repeated) for f in m.fields)
            assert shape(ours.message_types_by_name[name]) == shape(message), name
        for name, service in theirs.services_by_name.items():
            shape = lambda s: sorted((m.name, m.input_type.full_name, m.output_type.full_name, m.client_streaming, m.server_streaming) for m in s.methods)
            assert shape(ours.services_by_name[name]) == shape(service), name


def test_every_kind_of_question_to_our_server(channel):
    request = reflection_pb2.ServerReflectionRequest
    questions = [
        request(file_by_filename="grpc/health/v1/health.proto"),
        request(file_containing_symbol="no.such.Thing"),
        request(all_extension_numbers_of_type="google.protobuf.FieldOptions"),
        request(file_containing_extension=reflection_pb2.ExtensionRequest(containing_type="google.protobuf.FieldOptions", extension_number=77)),
        request(list_services=""),
    ]
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    answers = list(stub.ServerReflectionInfo(iter(questions), timeout=PATIENCE))
    assert [answer.original_request for answer in answers] == questions
    assert [answer.WhichOneof("message_response") for answer in answers] == [
        "file_descriptor_response",
        "error_response",
        "all_extension_numbers_response",
        "error_response",
        "list_services_response",
    ]
    assert answers[1].error_response.error_code == 5
    with pytest.raises(grpc.RpcError) as error:
        list(stub.ServerReflectionInfo(iter([request(host="h")]), timeout=PATIENCE))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_our_client_checks_and_watches_their_server(theirs):
    theirs.health.set("demo.Echo", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert client("check", theirs.target).stdout == "SERVING\n"
    assert client("check", theirs.target, "demo.Echo").stdout == "NOT_SERVING\n"
    assert "NOT_FOUND" in client("check", theirs.target, "no.Such").stderr
    watch = subprocess.Popen([OURS, "watch", theirs.target, "demo.Echo"], stdout=subprocess.PIPE, text=True)
    assert watch.stdout.readline() == "NOT_SERVING\n"
    theirs.health.set("demo.Echo", health_pb2.HealthCheckResponse.SERVING)
    assert watch.stdout.readline() == "SERVING\n"
    theirs.health.enter_graceful_shutdown()
    assert watch.stdout.readline() == "NOT_SERVING\n"
    watch.kill()
    watch.wait()


def test_our_client_lists_their_statuses(theirs):
    theirs.health.set("demo.Echo", health_pb2.HealthCheckResponse.NOT_SERVING)
    listed = client("list", theirs.target)
    assert listed.stdout == '"" SERVING\n"demo.Echo" NOT_SERVING\n', listed.stderr


def test_our_client_reflects_their_server(theirs):
    said = client("reflect", theirs.target)
    assert said.stdout.splitlines() == [
        "service grpc.health.v1.Health",
        *[f"  {m.name} ({m.input_type.full_name}) -> ({m.output_type.full_name})" for m in health_pb2.DESCRIPTOR.services_by_name["Health"].methods],
        "service grpc.reflection.v1alpha.ServerReflection",
        "  ServerReflectionInfo (grpc.reflection.v1alpha.ServerReflectionRequest) -> (grpc.reflection.v1alpha.ServerReflectionResponse)",
    ], said.stderr


def test_our_client_skips_what_they_list_and_do_not_have(theirs):
    peer = Theirs(names=("no.Such", health.SERVICE_NAME))
    said = client("reflect", peer.target).stdout.splitlines()
    peer.server.stop(0)
    assert said[0] == "service grpc.health.v1.Health"
    assert said[-1].startswith("skipped no.Such: NOT_FOUND")
