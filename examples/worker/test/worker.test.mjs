// The Worker in real workerd, between an API and a facilitator that says yes to everything, and the official client.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { build } from "esbuild";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";

const example = dirname(dirname(fileURLToPath(import.meta.url)));
const asked = [];
let api, facilitator, workerd, gate, folder;

/** A server on a port of its own. */
async function serve(answer) {
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const { status = 200, json } = answer(request, body);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(json));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

const origin = (server) => `http://127.0.0.1:${server.address().port}`;

before(async () => {
  api = await serve(({ url, headers }) => {
    asked.push({ url, paid: headers["payment-signature"] });
    return url === "/reports/none" ? { status: 404, json: {} } : { json: { report: url } };
  });
  facilitator = await serve(({ url }, body) => {
    if (url === "/supported") return { json: { kinds: [], extensions: [], signers: {} }, status: 404 };
    const { authorization } = JSON.parse(body).paymentPayload.payload;
    if (url === "/verify") return { json: { isValid: true, payer: authorization.from } };
    const transaction = `0x${"ab".repeat(32)}`;
    return { json: { success: true, transaction, network: "eip155:84532", payer: authorization.from } };
  });
  const free = await serve(() => ({}));
  const { port } = free.address();
  await new Promise((done) => free.close(done));
  gate = `http://127.0.0.1:${port}`;

  folder = await mkdtemp(join(tmpdir(), "farebox-worker-"));
  const policy = JSON.parse(await readFile(join(example, "policy.json"), "utf8"));
  policy.origins = [gate];
  policy.facilitators[0].url = origin(facilitator);
  await build({
    entryPoints: [join(example, "src/worker.ts")],
    outdir: join(folder, "dist"),
    bundle: true,
    format: "esm",
    conditions: ["workerd", "worker"],
    external: ["cloudflare:*"],
    loader: { ".wasm": "copy" },
    assetNames: "[name]",
    plugins: [
      {
        name: "this test's policy",
        setup: ({ onLoad }) =>
          onLoad({ filter: /policy\.json$/ }, () => ({ contents: JSON.stringify(policy), loader: "json" })),
      },
    ],
  });
  const config = await readFile(join(example, "worker.capnp"), "utf8");
  await writeFile(join(folder, "worker.capnp"), config.replace("localhost:8787", `127.0.0.1:${port}`));
  await mkdir(join(folder, "objects"));
  const program = process.env.WORKERD ?? join(example, "node_modules/.bin/workerd");
  workerd = spawn(program, ["serve", "--experimental", "worker.capnp"], {
    cwd: folder,
    env: { ...process.env, API: origin(api) },
    stdio: ["ignore", "inherit", "inherit"],
  });
  for (let tries = 0; ; tries += 1) {
    const open = await new Promise((done) => {
      const socket = connect(port, "127.0.0.1", () => done(socket.end() && true)).on("error", () => done(false));
    });
    if (open) break;
    assert(tries < 200, "workerd does not listen");
    await new Promise((done) => setTimeout(done, 50));
  }
});

after(async () => {
  workerd?.kill();
  api?.close();
  facilitator?.close();
  if (folder) await rm(folder, { recursive: true });
});

const client = new x402Client();
registerExactEvmScheme(client, { signer: privateKeyToAccount(generatePrivateKey()) });
const pay = wrapFetchWithPayment(fetch, client);

test("what is free passes, and what nobody sells does not", async () => {
  assert.equal((await fetch(`${gate}/health`)).status, 200);
  assert.equal((await fetch(`${gate}/elsewhere`)).status, 404);
});

test("without a payment, the price is told and the API hears nothing", async () => {
  const before = asked.length;
  const response = await fetch(`${gate}/reports/7`);
  assert.equal(response.status, 402);
  assert(response.headers.has("payment-required"));
  assert.equal(asked.length, before);
});

test("the official client pays and gets the report and a receipt; the API sees no payment", async () => {
  const response = await pay(`${gate}/reports/7`);
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { report: "/reports/7" });
  assert.equal(decodePaymentResponseHeader(response.headers.get("payment-response")).success, true);
  assert.deepEqual(asked.at(-1), { url: "/reports/7", paid: undefined });
});

test("what the API does not have is not charged", async () => {
  const response = await pay(`${gate}/reports/none`);
  assert.equal(response.status, 404);
  assert.equal(response.headers.get("payment-response"), null);
});

test("a payment is good once", async () => {
  let sent;
  const notes = (input, init) => {
    const request = new Request(input, init);
    sent = request.headers.get("payment-signature") ?? sent;
    return fetch(request);
  };
  assert.equal((await wrapFetchWithPayment(notes, client)(`${gate}/reports/8`)).status, 200);
  const again = await fetch(`${gate}/reports/8`, { headers: { "payment-signature": sent } });
  assert.equal(again.status, 409);
});
