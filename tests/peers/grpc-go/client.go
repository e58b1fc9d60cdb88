package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

type plan struct {
	Method      string            `json:"method"`
	Requests    []json.RawMessage `json:"requests"`
	Metadata    [][2]string       `json:"metadata"`
	TimeoutMs   *int              `json:"timeout_ms"`
	Compression string            `json:"compression"`
	Alternate   bool              `json:"alternate"`
	Hold        bool              `json:"hold"`
	Cancel      string            `json:"cancel"`
	Parallel    int               `json:"parallel"`
}

type outcome struct {
	Code     int               `json:"code"`
	Message  string            `json:"message"`
	Replies  []json.RawMessage `json:"replies"`
	Initial  [][2]string       `json:"initial"`
	Trailing [][2]string       `json:"trailing"`
	Codes    map[int]int       `json:"codes,omitempty"`
}

func call(o options) error {
	creds, err := o.credentials(false)
	if err != nil {
		return err
	}
	channel, err := grpc.NewClient(o.target, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer func() { _ = channel.Close() }()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var p plan
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return err
		}
		written, err := json.Marshal(run(channel, p))
		if err != nil {
			return err
		}
		fmt.Println(string(written))
	}
	return lines.Err()
}

func run(channel *grpc.ClientConn, p plan) outcome {
	outcomes := make([]outcome, max(p.Parallel, 1))
	var all sync.WaitGroup
	for i := range outcomes {
		all.Add(1)
		go func() {
			defer all.Done()
			outcomes[i] = one(channel, p)
		}()
	}
	all.Wait()
	shown := max(slices.IndexFunc(outcomes, func(o outcome) bool { return o.Code != 0 }), 0)
	result := outcomes[shown]
	if len(outcomes) > 1 {
		result.Codes = map[int]int{}
		for _, each := range outcomes {
			result.Codes[each.Code]++
		}
	}
	return result
}

func one(channel *grpc.ClientConn, p plan) outcome {
	method := method(p.Method)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if p.TimeoutMs != nil {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, time.Duration(*p.TimeoutMs)*time.Millisecond)
		defer done()
	}
	for _, pair := range p.Metadata {
		value := pair[1]
		if strings.HasSuffix(pair[0], "-bin") {
			bytes, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				fail(err)
			}
			value = string(bytes)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, pair[0], value)
	}
	var options []grpc.CallOption
	if p.Compression == "gzip" {
		options = append(options, grpc.UseCompressor(gzip.Name))
	}
	var waiting []*dynamicpb.Message
	for _, text := range p.Requests {
		request := dynamicpb.NewMessage(method.Input())
		if err := protojson.Unmarshal(text, request); err != nil {
			fail(err)
		}
		waiting = append(waiting, request)
	}
	result := outcome{Replies: []json.RawMessage{}}
	var initial, trailing metadata.MD
	var err error
	if method.IsStreamingClient() || method.IsStreamingServer() {
		err = stream(ctx, cancel, channel, p, method, waiting, &result, &initial, &trailing, options)
	} else {
		if p.Cancel == "at_once" {
			cancel()
		}
		reply := dynamicpb.NewMessage(method.Output())
		options = append(options, grpc.Header(&initial), grpc.Trailer(&trailing))
		if err = channel.Invoke(ctx, p.Method, waiting[0], reply, options...); err == nil {
			result.add(reply)
		}
	}
	ended, _ := status.FromError(err)
	result.Code, result.Message = int(ended.Code()), ended.Message()
	result.Initial, result.Trailing = metadataOut(initial), metadataOut(trailing)
	return result
}

func stream(
	ctx context.Context, cancel context.CancelFunc, channel *grpc.ClientConn, p plan, method protoreflect.MethodDescriptor,
	waiting []*dynamicpb.Message, result *outcome, initial, trailing *metadata.MD, options []grpc.CallOption,
) error {
	desc := &grpc.StreamDesc{ClientStreams: method.IsStreamingClient(), ServerStreams: method.IsStreamingServer()}
	call, err := channel.NewStream(ctx, desc, p.Method, options...)
	if err != nil {
		return err
	}
	if p.Cancel == "at_once" {
		cancel()
	}
	hold := p.Hold || p.Cancel != ""
	// one request, or all; an error of a send shows in the receive
	next := func(all bool) {
		sent := false
		for len(waiting) > 0 && (all || !sent) {
			_ = call.SendMsg(waiting[0])
			waiting, sent = waiting[1:], true
		}
		if (all || !sent) && !hold {
			_ = call.CloseSend()
		}
	}
	next(!p.Alternate)
	for {
		reply := dynamicpb.NewMessage(method.Output())
		if err = call.RecvMsg(reply); err != nil {
			break
		}
		result.add(reply)
		if p.Cancel == "after_first_reply" {
			cancel()
		} else if p.Alternate {
			next(false)
		}
		if !method.IsStreamingServer() {
			break
		}
	}
	*initial, _ = call.Header()
	*trailing = call.Trailer()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (o *outcome) add(reply *dynamicpb.Message) {
	text, err := protojson.Marshal(reply)
	if err != nil {
		fail(err)
	}
	o.Replies = append(o.Replies, text)
}

func metadataOut(md metadata.MD) [][2]string {
	added := []string{"content-type", "date", "user-agent", "grpc-encoding", "grpc-accept-encoding", "grpc-status-details-bin"}
	pairs := [][2]string{}
	for key, values := range md {
		if slices.Contains(added, key) {
			continue
		}
		for _, value := range values {
			if strings.HasSuffix(key, "-bin") {
				value = base64.StdEncoding.EncodeToString([]byte(value))
			}
			pairs = append(pairs, [2]string{key, value})
		}
	}
	return pairs
}
