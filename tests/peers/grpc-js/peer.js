// The peer grpc-js: see tests/peers/README.md for its command line.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { parseArgs } = require("node:util");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const schema = grpc.loadPackageDefinition(
  protoLoader.loadSync(["grpc/testing/test.proto", "demo/v1/echo.proto"], {
    includeDirs: [path.join(__dirname, "..", "..", "proto")],
    bytes: String, // base64, as the protobuf JSON mapping wants it
    enums: String,
    longs: String,
    defaults: true,
  }),
);
const services = {
  "grpc.testing.TestService": schema.grpc.testing.TestService,
  "grpc.testing.UnimplementedService": schema.grpc.testing.UnimplementedService,
  "demo.v1.Echo": schema.demo.v1.Echo,
};

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const bodyOf = (size) => ({ type: "COMPRESSABLE", body: Buffer.alloc(size).toString("base64") });
const sizeOf = (payload) => (payload ? Buffer.from(payload.body, "base64").length : 0);

// ---- server ---------------------------------------------------------------------------------------------------------

function echoMetadata(call) {
  const initial = new grpc.Metadata();
  const trailing = new grpc.Metadata();
  for (const value of call.metadata.get("x-grpc-test-echo-initial")) initial.add("x-grpc-test-echo-initial", value);
  for (const value of call.metadata.get("x-grpc-test-echo-trailing-bin")) trailing.add("x-grpc-test-echo-trailing-bin", value);
  call.sendMetadata(initial);
  return trailing;
}

const failed = (code, details, metadata) => Object.assign(new Error(details), { code, details, metadata });

function unary(call, callback) {
  const trailing = echoMetadata(call);
  const { responseStatus, responseType, responseSize } = call.request;
  if (responseStatus?.code) return callback(failed(responseStatus.code, responseStatus.message, trailing));
  if (responseType !== "COMPRESSABLE") return callback(failed(3, "unknown payload type", trailing));
  callback(null, { payload: bodyOf(responseSize) }, trailing);
}

// Writes what one request asks for; true if the call has been ended with the status it asked for.
async function repliesTo(call, request) {
  for (const { size, intervalUs } of request.responseParameters ?? []) {
    if (intervalUs) await sleep(intervalUs / 1000);
    if (call.cancelled) return true;
    if (!call.write({ payload: bodyOf(size) })) await new Promise((resolve) => call.once("drain", resolve));
  }
  if (!request.responseStatus?.code) return false;
  call.emit("error", failed(request.responseStatus.code, request.responseStatus.message));
  return true;
}

const testService = {
  emptyCall: (call, callback) => callback(null, {}, echoMetadata(call)),
  unaryCall: unary,
  cacheableUnaryCall: unary,
  async streamingOutputCall(call) {
    const trailing = echoMetadata(call);
    if (!(await repliesTo(call, call.request))) call.end(trailing);
  },
  streamingInputCall(call, callback) {
    const trailing = echoMetadata(call);
    let total = 0;
    call.on("data", (request) => (total += sizeOf(request.payload)));
    call.on("end", () => callback(null, { aggregatedPayloadSize: total }, trailing));
    call.on("error", () => {});
  },
  fullDuplexCall(call) {
    const trailing = echoMetadata(call);
    let turn = Promise.resolve(false);
    call.on("data", (request) => (turn = turn.then((ended) => ended || repliesTo(call, request))));
    call.on("end", () => turn.then((ended) => ended || call.end(trailing)));
    call.on("error", () => {});
  },
  halfDuplexCall(call) {
    const trailing = echoMetadata(call);
    const requests = [];
    call.on("data", (request) => requests.push(request));
    call.on("end", async () => {
      for (const request of requests) if (await repliesTo(call, request)) return;
      call.end(trailing);
    });
    call.on("error", () => {});
  },
};

const echo = {
  unary(call, callback) {
    const trailing = new grpc.Metadata();
    trailing.set("x-took", "1");
    if (!call.request.text) return callback(failed(5, "no text"));
    callback(null, call.request, trailing);
  },
  serverStream(call) {
    for (let n = 0; n < call.request.n; n++) call.write({ n });
    call.end();
  },
  clientStream(call, callback) {
    let n = 0;
    call.on("data", (request) => (n += request.n));
    call.on("end", () => callback(null, { n }));
    call.on("error", () => {});
  },
  bidi(call) {
    call.on("data", (request) => call.write(request));
    call.on("end", () => call.end());
    call.on("error", () => {});
  },
};

function serve(options) {
  const server = new grpc.Server();
  server.addService(services["grpc.testing.TestService"].service, testService);
  server.addService(services["demo.v1.Echo"].service, echo);
  let credentials = grpc.ServerCredentials.createInsecure();
  if (options.tls) {
    const file = (name) => fs.readFileSync(path.join(options.tls, name));
    const pair = { private_key: file(`${options.identity}.key`), cert_chain: file(`${options.identity}.pem`) };
    credentials = grpc.ServerCredentials.createSsl(options.mtls ? file("ca.pem") : null, [pair], options.mtls);
  }
  server.bindAsync(`127.0.0.1:${options.port}`, credentials, (error, port) => {
    if (error) throw error;
    console.log(`ready ${port}`);
  });
  process.stdin.resume().on("end", () => process.exit(0));
}

// ---- client ---------------------------------------------------------------------------------------------------------

const ADDED = /^(content-type|date|user-agent|grpc-(status|message|encoding|accept-encoding|status-details-bin))$/;

function metadataOut(metadata) {
  const pairs = [];
  for (const key of Object.keys(metadata?.getMap() ?? {})) {
    if (ADDED.test(key)) continue;
    for (const value of metadata.get(key)) pairs.push([key, Buffer.isBuffer(value) ? value.toString("base64") : value]);
  }
  return pairs;
}

function metadataIn(plan) {
  const metadata = new grpc.Metadata();
  for (const [key, value] of plan.metadata ?? []) metadata.add(key, key.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  return metadata;
}

function makeCall(clients, plan) {
  const [, service, name] = plan.method.split("/");
  const client = clients[service];
  const definition = services[service].service[name];
  const options = {};
  if (plan.timeout_ms !== undefined) options.deadline = Date.now() + plan.timeout_ms;
  const waiting = [...plan.requests];
  const hold = plan.hold || plan.cancel;

  return new Promise((resolve) => {
    const outcome = { replies: [], initial: [], trailing: [] };
    const argument = definition.requestStream ? [] : [waiting.shift()];
    const method = client[name].bind(client);
    const onReply = (error, reply) => {
      if (reply) outcome.replies.push(reply);
    };
    const call = definition.responseStream
      ? method(...argument, metadataIn(plan), options)
      : method(...argument, metadataIn(plan), options, onReply);
    const next = () => (waiting.length ? call.write(waiting.shift()) : hold || call.end());
    call.on("metadata", (metadata) => (outcome.initial = metadataOut(metadata)));
    call.on("status", (status) => {
      outcome.code = status.code;
      outcome.message = status.details;
      outcome.trailing = metadataOut(status.metadata);
      setImmediate(() => resolve(outcome)); // the reply's callback comes with the status
    });
    call.on("error", () => {});
    if (definition.responseStream) {
      call.on("data", (reply) => {
        outcome.replies.push(reply);
        if (plan.cancel === "after_first_reply") call.cancel();
        else if (plan.alternate) next();
      });
    }
    if (plan.cancel === "at_once") call.cancel();
    else if (definition.requestStream) {
      if (plan.alternate) next();
      else {
        while (waiting.length) call.write(waiting.shift());
        if (!hold) call.end();
      }
    }
  });
}

function together(outcomes) {
  if (outcomes.length === 1) return outcomes[0];
  const codes = {};
  for (const { code } of outcomes) codes[code] = (codes[code] ?? 0) + 1;
  return { ...(outcomes.find(({ code }) => code !== 0) ?? outcomes[0]), codes };
}

async function client(options) {
  let credentials = grpc.credentials.createInsecure();
  if (options.tls) {
    const file = (name) => fs.readFileSync(path.join(options.tls, name));
    credentials = grpc.credentials.createSsl(file("ca.pem"), ...(options.mtls ? [file("client.key"), file("client.pem")] : []));
  }
  // compression is a property of the channel here, so there are two
  const clientsFor = (channelOptions) =>
    Object.fromEntries(Object.entries(services).map(([name, Client]) => [name, new Client(options.target, credentials, channelOptions)]));
  const plain = clientsFor({});
  const gzip = clientsFor({ "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const plan = JSON.parse(line);
    const clients = plan.compression === "gzip" ? gzip : plain;
    const calls = Array.from({ length: plan.parallel ?? 1 }, () => makeCall(clients, plan));
    console.log(JSON.stringify(together(await Promise.all(calls))));
  }
  process.exit(0);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    port: { type: "string", default: "0" },
    target: { type: "string" },
    tls: { type: "string" },
    mtls: { type: "boolean", default: false },
    identity: { type: "string", default: "server" },
  },
});
if (positionals[0] === "serve") serve(values);
else client(values);
