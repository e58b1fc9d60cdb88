package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	echoInitial  = "x-grpc-test-echo-initial"
	echoTrailing = "x-grpc-test-echo-trailing-bin"
)

func serve(o options) error {
	creds, err := o.credentials(true)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.Creds(creds))
	for _, name := range []string{"grpc.testing.TestService", "demo.v1.Echo"} {
		server.RegisterService(describe(service(name)), struct{}{})
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.port))
	if err != nil {
		return err
	}
	fmt.Printf("ready %d\n", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return server.Serve(listener)
}

// describe builds at run time what protoc-gen-go-grpc would have written.
func describe(service protoreflect.ServiceDescriptor) *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: string(service.FullName()), HandlerType: (*any)(nil)}
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		if method.Name() == "UnimplementedCall" {
			continue
		}
		if !method.IsStreamingClient() && !method.IsStreamingServer() {
			desc.Methods = append(desc.Methods, grpc.MethodDesc{
				MethodName: string(method.Name()),
				Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
					request := dynamicpb.NewMessage(method.Input())
					if err := decode(request); err != nil {
						return nil, err
					}
					return unary(ctx, method, request)
				},
			})
			continue
		}
		desc.Streams = append(desc.Streams, grpc.StreamDesc{
			StreamName:    string(method.Name()),
			ClientStreams: method.IsStreamingClient(),
			ServerStreams: method.IsStreamingServer(),
			Handler:       func(_ any, stream grpc.ServerStream) error { return streaming(method, stream) },
		})
	}
	return desc
}

func get(m protoreflect.Message, name string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
}

func set(m *dynamicpb.Message, name string, value protoreflect.Value) {
	m.Set(m.Descriptor().Fields().ByName(protoreflect.Name(name)), value)
}

// withPayload is a message of type name whose payload is size zero bytes.
func withPayload(name string, request protoreflect.Message, size int64) (proto.Message, error) {
	if get(request, "response_type").Enum() != 0 {
		return nil, status.Error(codes.InvalidArgument, "unknown payload type")
	}
	payload, reply := message("grpc.testing.Payload"), message(name)
	set(payload, "body", protoreflect.ValueOfBytes(make([]byte, size)))
	set(reply, "payload", protoreflect.ValueOfMessage(payload))
	return reply, nil
}

func askedStatus(request protoreflect.Message) error {
	asked := get(request, "response_status").Message()
	return status.Error(codes.Code(get(asked, "code").Int()), get(asked, "message").String())
}

func echoed(ctx context.Context) (initial, trailing metadata.MD) {
	got, _ := metadata.FromIncomingContext(ctx)
	initial, trailing = metadata.MD{}, metadata.MD{}
	initial.Append(echoInitial, got.Get(echoInitial)...)
	trailing.Append(echoTrailing, got.Get(echoTrailing)...)
	return initial, trailing
}

func unary(ctx context.Context, method protoreflect.MethodDescriptor, request *dynamicpb.Message) (proto.Message, error) {
	initial, trailing := echoed(ctx)
	_ = grpc.SetHeader(ctx, initial)
	_ = grpc.SetTrailer(ctx, trailing)
	switch method.FullName() {
	case "demo.v1.Echo.Unary":
		if get(request, "text").String() == "" {
			return nil, status.Error(codes.NotFound, "no text")
		}
		return request, grpc.SetTrailer(ctx, metadata.Pairs("x-took", "1"))
	case "grpc.testing.TestService.EmptyCall":
		return message("grpc.testing.Empty"), nil
	}
	if err := askedStatus(request); err != nil {
		return nil, err
	}
	if get(get(request, "response_compressed").Message(), "value").Bool() {
		_ = grpc.SetSendCompressor(ctx, gzip.Name)
	}
	return withPayload("grpc.testing.SimpleResponse", request, get(request, "response_size").Int())
}

func streaming(method protoreflect.MethodDescriptor, stream grpc.ServerStream) error {
	initial, trailing := echoed(stream.Context())
	_ = stream.SetHeader(initial)
	stream.SetTrailer(trailing)
	receive := func() (*dynamicpb.Message, error) {
		request := dynamicpb.NewMessage(method.Input())
		return request, stream.RecvMsg(request)
	}
	var gathered []*dynamicpb.Message
	var sum int64
	for {
		request, err := receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch method.FullName() {
		case "demo.v1.Echo.ServerStream":
			for n := range get(request, "n").Int() {
				reply := message("demo.v1.Msg")
				set(reply, "n", protoreflect.ValueOfInt32(int32(n)))
				if err := stream.SendMsg(reply); err != nil {
					return err
				}
			}
			return nil
		case "demo.v1.Echo.Bidi":
			if err := stream.SendMsg(request); err != nil {
				return err
			}
		case "demo.v1.Echo.ClientStream":
			sum += get(request, "n").Int()
		case "grpc.testing.TestService.StreamingInputCall":
			sum += int64(len(get(get(request, "payload").Message(), "body").Bytes()))
		case "grpc.testing.TestService.StreamingOutputCall":
			return replies(stream, request)
		case "grpc.testing.TestService.HalfDuplexCall":
			gathered = append(gathered, request)
		default:
			if err := replies(stream, request); err != nil {
				return err
			}
		}
	}
	for _, request := range gathered {
		if err := replies(stream, request); err != nil {
			return err
		}
	}
	switch method.FullName() {
	case "demo.v1.Echo.ClientStream":
		reply := message("demo.v1.Msg")
		set(reply, "n", protoreflect.ValueOfInt32(int32(sum)))
		return stream.SendMsg(reply)
	case "grpc.testing.TestService.StreamingInputCall":
		reply := message("grpc.testing.StreamingInputCallResponse")
		set(reply, "aggregated_payload_size", protoreflect.ValueOfInt32(int32(sum)))
		return stream.SendMsg(reply)
	}
	return nil
}

// replies sends what one request of a streaming output method asks for.
func replies(stream grpc.ServerStream, request *dynamicpb.Message) error {
	wanted := get(request, "response_parameters").List()
	for i := range wanted.Len() {
		one := wanted.Get(i).Message()
		time.Sleep(time.Duration(get(one, "interval_us").Int()) * time.Microsecond)
		reply, err := withPayload("grpc.testing.StreamingOutputCallResponse", request, get(one, "size").Int())
		if err != nil {
			return err
		}
		if err := stream.SendMsg(reply); err != nil {
			return err
		}
	}
	return askedStatus(request)
}
