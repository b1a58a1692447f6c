// The gate on Node, in front of handlers of all kinds, with a facilitator that says yes to everything.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { createGate, honoMiddleware, memoryStore } from "farebox/gate";
import { Hono } from "hono";
import { cors } from "hono/cors";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";

const ORIGIN = "http://shop.example";
const policy = (more = {}) => ({
  version: 1,
  origins: [ORIGIN],
  default: "free",
  payees: { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" },
  facilitators: [{ name: "yes", url: "http://facilitator.local", cluster: "facilitator" }],
  routes: [{ path: "/dear", offers: [{ price: "$0.01", network: "eip155:84532" }] }],
  ...more,
});

const client = new x402Client();
registerExactEvmScheme(client, { signer: privateKeyToAccount(generatePrivateKey()) });

/** A facilitator, and how often it was asked to do what. */
function facilitator(settled = { success: true, transaction: `0x${"ab".repeat(32)}`, network: "eip155:84532" }) {
  const calls = { verify: 0, settle: 0 };
  const fetch = async (request) => {
    const what = new URL(request.url).pathname.slice(1);
    if (!(what in calls)) return new Response(null, { status: 404 });
    calls[what] += 1;
    const { from: payer } = (await request.json()).paymentPayload.payload.authorization;
    return Response.json(what === "verify" ? { isValid: true, payer } : { ...settled, payer });
  };
  return { fetch, calls };
}

/** A gate with a facilitator of its own. */
function shop({ policy: more, settled, ...options } = {}) {
  const { fetch, calls } = facilitator(settled);
  const facilitators = { facilitator: { fetch } };
  return { gate: createGate(policy(more), { store: memoryStore(), facilitators, log: false, ...options }), calls };
}

/** A request with a payment of its own. */
async function paying(gate, path = "/dear", init = {}) {
  let paid;
  const first = (input, init) => {
    const request = new Request(input, init);
    if (!request.headers.has("payment-signature")) return gate.fetch(request, () => assert.fail("free"));
    paid = request;
    return new Response();
  };
  await wrapFetchWithPayment(first, client)(ORIGIN + path, init);
  return paid;
}

/** A Hono application with a gate. */
function application(set, options, gateOptions) {
  const { gate, calls } = shop(gateOptions);
  const app = new Hono();
  set.before?.(app);
  app.use(honoMiddleware(gate, options));
  set.after?.(app);
  return { app, gate, calls };
}

test("a payment is settled once the handler has answered", async () => {
  const { gate, calls } = shop();
  const response = await gate.fetch(await paying(gate), () => new Response("dear"));
  assert.equal(await response.text(), "dear");
  assert(response.headers.has("payment-response"));
  assert.deepEqual(calls, { verify: 1, settle: 1 });
});

test("clients whose address nobody knows do not share a limit; those whose address Hono knows have theirs", async () => {
  const limits = { challenges_per_second: 2, failed_payments_per_minute: 0, verifying_per_source: 0 };
  const set = { after: (app) => app.get("/dear", (c) => c.text("dear")) };
  const statuses = async (app, from) => {
    const ask = () => app.request(`${ORIGIN}/dear`, { headers: { "x-from": from } });
    return (await Promise.all([ask(), ask(), ask(), ask()])).map(({ status }) => status);
  };
  const nobody = application(set, {}, { policy: { limits } });
  assert.deepEqual(await statuses(nobody.app, "a"), [402, 402, 402, 402]);
  const known = application(set, { source: (c) => c.req.header("x-from") }, { policy: { limits } });
  assert.deepEqual(await statuses(known.app, "a"), [402, 402, 429, 429]);
  assert.deepEqual(await statuses(known.app, "b"), [402, 402, 429, 429]);
});

test("a Hono handler that gives nothing is not charged", async () => {
  const { app, gate, calls } = application({ after: (app) => app.get("/dear", async () => {}) });
  const response = await app.request(await paying(gate));
  assert.deepEqual([response.status, calls.settle], [503, 0]);
});

test("what Hono's middleware outside sets is on every answer once, also on refusals", async () => {
  const set = {
    before: (app) => app.use(cors({ origin: "https://page.example", exposeHeaders: ["Payment-Required"] })),
    after: (app) => app.get("/dear", (c) => c.text("dear", 200, { "x-handler": "here" })),
  };
  const headers = { origin: "https://page.example" };
  const readable = (response) => response.headers.get("access-control-allow-origin");
  const good = application(set);
  const unpaid = await good.app.request(`${ORIGIN}/dear`, { headers });
  assert.deepEqual([unpaid.status, readable(unpaid)], [402, "https://page.example"]);
  const paid = await good.app.request(await paying(good.gate, "/dear", { headers }));
  assert.deepEqual([paid.status, readable(paid), paid.headers.get("x-handler")], [200, "https://page.example", "here"]);
  const settled = { success: false, errorReason: "insufficient_funds", transaction: "", network: "eip155:84532" };
  const bad = application(set, {}, { settled });
  const refused = await bad.app.request(await paying(bad.gate, "/dear", { headers }));
  assert.deepEqual([refused.status, readable(refused)], [402, "https://page.example"]);
  assert.equal(refused.headers.get("x-handler"), null);
});

/** The next time that the module asks for the time, it traps. */
function trapNext() {
  const { now } = Date;
  Date.now = () => {
    if (!new Error().stack.includes("wasm")) return now();
    Date.now = now;
    throw new WebAssembly.RuntimeError("unreachable");
  };
}

test("a trap ends what is under way with a 503, and the next request gets a new instance", async () => {
  const { gate } = shop();
  const other = shop().gate;
  const ask = (gate, path, next) => gate.fetch(new Request(ORIGIN + path), next ?? (() => new Response("free")));
  assert.deepEqual([(await ask(gate, "/dear")).status, (await ask(other, "/dear")).status], [402, 402]);
  const waiting = [ask(gate, "/free", () => new Promise(() => {})), ask(other, "/free", () => new Promise(() => {}))];
  trapNext();
  const trapped = await ask(gate, "/dear");
  const statuses = [trapped, ...(await Promise.all(waiting))].map(({ status }) => status);
  assert.deepEqual(statuses, [503, 503, 503]);
  assert.deepEqual([(await ask(gate, "/dear")).status, (await ask(other, "/dear")).status], [402, 402]);
  assert.equal((await ask(gate, "/free")).status, 200);
});

test("a log that throws takes nothing down", async () => {
  const print = console.warn;
  const printed = [];
  console.warn = console.error = (line) => printed.push(line);
  const { gate } = shop({
    log: () => {
      throw new Error("no log");
    },
  });
  for (const expected of [402, 402]) {
    assert.equal((await gate.fetch(new Request(`${ORIGIN}/dear`), () => assert.fail("free"))).status, expected);
  }
  console.warn = console.error = print;
  assert(printed.some((line) => line.includes("no log")) && printed.some((line) => line.includes("supported")), printed);
});

test("an instance dies of what breaks it off, and of no refusal; all that is under way hears of it", async () => {
  const { Runtime } = await import(new URL("../runtime.js", import.meta.resolve("farebox/gate")));
  let [running, resets, heard] = [false, 0, 0];
  const nothing = () => {};
  const runtime = new Runtime({
    initSync: nothing,
    settle: nothing,
    __wbg_reset_state: () => (resets += 1),
    is_running: () => running,
  });
  runtime.provide(() => undefined);
  const breaks = (error) => () => {
    throw error;
  };
  const mortals = () => {
    runtime.watch({ died: breaks(new Error("deaf")) });
    runtime.watch({ died: () => (heard += 1) });
  };
  mortals();
  assert.throws(() => runtime.enter(breaks(new TypeError("no text"))));
  assert.deepEqual([runtime.currentLife(), heard], [0, 0]);
  running = true;
  // What is called from within may fail by itself.
  runtime.enter(() => assert.throws(() => runtime.enter(breaks(new TypeError("no text")))));
  assert.deepEqual([runtime.currentLife(), heard], [0, 0]);
  assert.throws(() => runtime.enter(breaks(new RangeError("the stack is full"))));
  assert.deepEqual([runtime.currentLife(), heard], [1, 1]);
  running = false;
  mortals();
  assert.throws(() => runtime.enter(breaks(new WebAssembly.RuntimeError("unreachable"))));
  assert.deepEqual([runtime.currentLife(), heard, resets], [2, 2, 1]);
});

test("a response that cannot be passed on is not charged", async () => {
  const { gate, calls } = shop();
  const read = async () => {
    const response = new Response("dear");
    await response.text();
    return response;
  };
  const locked = () => {
    const response = new Response("dear");
    response.body.getReader();
    return response;
  };
  for (const next of [read, locked, () => undefined, () => "dear"]) {
    assert.equal((await gate.fetch(await paying(gate), next)).status, 503);
  }
  assert.equal(calls.settle, 0);
});

test("what is about the client's connection is not passed on, so that a body in chunks can be", async (t) => {
  const upstream = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    response.end(JSON.stringify({ body, headers: request.headers }));
  });
  t.after(() => upstream.close());
  await once(upstream.listen(0, "127.0.0.1"), "listening");
  const { gate } = shop();
  const request = new Request(`${ORIGIN}/free`, {
    method: "POST",
    headers: {
      connection: "keep-alive, X-Hop,x.hop,, Upgrade, no/field",
      "keep-alive": "timeout=5",
      "transfer-encoding": "chunked",
      expect: "100-continue",
      te: "trailers",
      upgrade: "h2c",
      "x-hop": "1",
      "x.hop": "1",
      "x-end": "2",
    },
    body: new Blob(["in ", "chunks"]).stream(),
    duplex: "half",
  });
  const response = await gate.fetch(request, (request) => fetch(`http://127.0.0.1:${upstream.address().port}/`, request));
  const { body, headers } = await response.json();
  assert.equal(body, "in chunks");
  assert.deepEqual([headers["x-hop"], headers["x.hop"], headers.te, headers.upgrade], [undefined, undefined, undefined, undefined]);
  assert.equal(headers["x-end"], "2");
  const socket = new Request(`${ORIGIN}/free`, { headers: { connection: "upgrade", upgrade: "websocket" } });
  assert.equal(await (await gate.fetch(socket, ({ headers }) => new Response(headers.get("upgrade")))).text(), "websocket");
});

test("a GET whose body was looked at is passed on without one", async () => {
  const { ExchangeSide } = await import(new URL("side.js", import.meta.resolve("farebox/gate")));
  const passed = [];
  const next = (request) => passed.push(request) && new Response();
  const log = ({ text }) => assert.fail(text);
  for (const method of ["GET", "HEAD"]) {
    const side = new ExchangeSide({ log }, new Request(`${ORIGIN}/free`, { method }), next);
    side.body(4e9, 100);
    await new Promise(setImmediate);
    side.forward(4e9, []);
    await new Promise(setImmediate);
    side.done();
  }
  assert.deepEqual(passed.map(({ method, body }) => [method, body]), [["GET", null], ["HEAD", null]]);
});

test("a HEAD whose bytes are counted is over when it is answered", async () => {
  const key = { kty: "OKP", crv: "Ed25519", d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" };
  const pass = { calls: 10, bytes: 100, seconds: 600, bearer: {} };
  const { gate } = shop({
    keys: { KEY: JSON.stringify(key) },
    policy: { tokens: { keys: [{ env: "KEY" }] }, routes: [{ path: "/dear", offers: [{ price: "$0.01", network: "eip155:84532", pass }] }] },
  });
  const bought = await gate.fetch(await paying(gate), () => new Response("dear"));
  const authorization = `Bearer ${bought.headers.get("capability-token")}`;
  const kept = [];
  const head = await gate.fetch(
    new Request(`${ORIGIN}/dear`, { method: "HEAD", headers: { authorization } }),
    () => new Response("never read"),
    { waitUntil: (promise) => kept.push(promise) },
  );
  assert.deepEqual([head.status, head.body], [200, null]);
  const late = new Promise((_, reject) => setTimeout(reject, 2000, new Error("something is under way")).unref());
  await Promise.race([Promise.all(kept), late]);
});

test("gates of one store share its ledger, and a trap does not empty it", async () => {
  const store = memoryStore();
  const [{ gate }, other] = [shop({ store }), shop({ store })];
  const payment = await paying(gate);
  assert.equal((await gate.fetch(payment.clone(), () => new Response("dear"))).status, 200);
  assert.equal((await other.gate.fetch(payment.clone(), () => assert.fail("once"))).status, 409);
  trapNext();
  assert.equal((await gate.fetch(new Request(`${ORIGIN}/dear`), () => assert.fail("free"))).status, 503);
  assert.equal((await gate.fetch(payment.clone(), () => assert.fail("once"))).status, 409);
  assert.equal(other.calls.settle, 0);
});

test("a facilitator that neither answers nor obeys the signal is waited for no longer than the policy says", async () => {
  const { gate } = shop({
    facilitators: { facilitator: { fetch: ({ url }) => new Promise((done) => url.endsWith("/supported") && done(new Response("{}"))) } },
    policy: { facilitators: [{ name: "mute", url: "http://facilitator.local", cluster: "facilitator", verify_timeout_seconds: 1 }] },
  });
  const late = new Promise((_, reject) => setTimeout(reject, 5000, new Error("it waits still")).unref());
  const response = await Promise.race([gate.fetch(await paying(gate), () => assert.fail("unpaid")), late]);
  assert.equal(response.status, 503);
});

test("work between requests goes on while it gets somewhere, and is given up, to its end, when it does not", async (t) => {
  const { now } = Date;
  let passed = 0;
  Date.now = () => now() + passed * 1000;
  t.after(() => (Date.now = now));
  const asked = { one: [], two: [] };
  const binding = (name) => ({ fetch: () => new Promise((done) => asked[name].push(() => done(new Response("{}")))) });
  const names = ["one", "two"];
  const { gate } = shop({
    facilitators: { one: binding("one"), two: binding("two") },
    policy: { facilitators: names.map((name) => ({ name, url: `http://${name}.local`, cluster: name })) },
  });
  const steps = () => new Promise((resolve) => setTimeout(resolve, 20));
  const counts = () => names.map((name) => asked[name].length);
  const first = gate.tend();
  await steps();
  passed = 20;
  asked.one[0]();
  await steps();
  passed = 45;
  void gate.tend();
  await steps();
  assert.deepEqual(counts(), [1, 1]);
  passed = 200;
  void gate.tend();
  await first;
  await steps();
  assert.deepEqual(counts(), [2, 1], "it begins anew");
  for (const name of names) {
    for (const answer of asked[name]) answer();
    await steps();
  }
});

test("the module may come from elsewhere", async () => {
  const program = `
    import { readFileSync } from "node:fs";
    import { createGate, init, memoryStore } from "farebox/gate";
    const bytes = readFileSync(new URL(import.meta.resolve("farebox/gate.wasm")));
    let compiled = 0;
    const { compile } = WebAssembly;
    WebAssembly.compile = (bytes) => (compiled += 1) && compile(bytes);
    await init(bytes);
    await init(new URL(import.meta.resolve("farebox/gate.wasm")));
    const construct = () => { throw new Error("the file beside the entry was read"); };
    WebAssembly.Module = new Proxy(WebAssembly.Module, { construct });
    createGate({ version: 1, origins: ["http://localhost"], default: "free", routes: [] }, { store: memoryStore() });
    process.exitCode = compiled === 2 ? 0 : 1;
  `;
  const [code] = await once(spawn(process.execPath, ["--input-type=module", "--eval", program], { stdio: "inherit" }), "exit");
  assert.equal(code, 0);
});
