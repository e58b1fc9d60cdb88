// The peer grpc-go: see tests/peers/README.md for its command line. Messages are dynamic, read from the descriptor
// set beside the binary, so that no generated code is needed.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

type options struct {
	port     int
	target   string
	tls      string
	mtls     bool
	identity string
}

var schema *protoregistry.Files

func loadSchema() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	bytes, err := os.ReadFile(filepath.Join(filepath.Dir(program), "schema.binpb"))
	if err != nil {
		return err
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(bytes, set); err != nil {
		return err
	}
	schema, err = protodesc.NewFiles(set)
	return err
}

func service(name string) protoreflect.ServiceDescriptor {
	found, err := schema.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		fail(fmt.Errorf("%s: %w", name, err))
	}
	return found.(protoreflect.ServiceDescriptor)
}

func method(path string) protoreflect.MethodDescriptor {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	return service(parts[0]).Methods().ByName(protoreflect.Name(parts[1]))
}

func message(name string) *dynamicpb.Message {
	found, err := schema.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		fail(err)
	}
	return dynamicpb.NewMessage(found.(protoreflect.MessageDescriptor))
}

func (o options) credentials(server bool) (credentials.TransportCredentials, error) {
	if o.tls == "" {
		return insecure.NewCredentials(), nil
	}
	pem, err := os.ReadFile(filepath.Join(o.tls, "ca.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: roots, ClientCAs: roots}
	name := "client"
	if server {
		name = o.identity
		if o.mtls {
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	if server || o.mtls {
		pair, err := tls.LoadX509KeyPair(filepath.Join(o.tls, name+".pem"), filepath.Join(o.tls, name+".key"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func main() {
	var o options
	flags := flag.NewFlagSet("peer", flag.ExitOnError)
	flags.IntVar(&o.port, "port", 0, "port to serve on")
	flags.StringVar(&o.target, "target", "", "host:port to call")
	flags.StringVar(&o.tls, "tls", "", "folder written by pki.py")
	flags.BoolVar(&o.mtls, "mtls", false, "with client certificates")
	flags.StringVar(&o.identity, "identity", "server", "the server's certificate")
	if len(os.Args) < 2 {
		fail(fmt.Errorf("serve or call"))
	}
	_ = flags.Parse(os.Args[2:])
	err := loadSchema()
	if err == nil {
		switch os.Args[1] {
		case "serve":
			err = serve(o)
		case "call":
			err = call(o)
		default:
			err = fmt.Errorf("serve or call")
		}
	}
	if err != nil {
		fail(err)
	}
}
