// An x402 facilitator over HTTP: the official `x402Facilitator` class with the official exact EVM scheme (v2 and v1)
// and viem, behind a small keep-alive server. The class decides; this file only carries.
//
//   PORT=… RPC_URL=… PRIVATE_KEY=0x… node facilitator.mjs
//
// Routes
//   POST /verify, POST /settle   {x402Version, paymentPayload, paymentRequirements} → 200, whether valid or not;
//                                400 if the envelope is not one; 500 {"error"} if the class throws
//   GET  /supported, GET /health
//   GET  /counts                 calls that arrived: {"verify", "settle", "supported"}
//   GET  /calls                  the last 1000 calls: [{"operation", "request", "answer"}]
//   POST /faults                 {"verify" | "settle" | "supported": [fault, …]} replaces the faults of the named
//                                operations; each call takes the first fault and counts it down.
//
// A fault: {"delayMs": 0, "after": false, "reset": false, "status": 500, "body": "…", "times": 1}
//   delayMs   wait so long before answering
//   after     do the real work first (a settlement reaches the chain), then answer by the rest of the fault
//   reset     close the connection without an answer
//   status, body   answer this instead (a body that is not a string is sent as JSON)
//   times     how many calls it is for; 0 means all
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { registerExactEvmScheme } from "@x402/evm/exact/facilitator";
import { createWalletClient, defineChain, http as rpcTransport, publicActions } from "viem";
import { nonceManager, privateKeyToAccount } from "viem/accounts";

const { PORT = "0", RPC_URL, PRIVATE_KEY, CHAIN_ID = "84532" } = process.env;
if (!RPC_URL || !PRIVATE_KEY) {
  console.error("facilitator: RPC_URL and PRIVATE_KEY must be set");
  process.exit(2);
}

const MAX_CALLS_KEPT = 1000;

function makeFacilitator() {
  const chain = defineChain({
    id: Number(CHAIN_ID),
    name: "rig",
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [RPC_URL] } },
  });
  // Settlements run at once, from one account: the nonce manager hands out its transaction numbers.
  const account = privateKeyToAccount(PRIVATE_KEY, { nonceManager });
  const client = createWalletClient({
    account,
    chain,
    transport: rpcTransport(RPC_URL),
    pollingInterval: 20,
    cacheTime: 0,
  }).extend(publicActions);
  const signer = toFacilitatorEvmSigner({
    address: account.address,
    getCode: (args) => client.getCode(args),
    readContract: (args) => client.readContract({ ...args, args: args.args ?? [] }),
    verifyTypedData: (args) => client.verifyTypedData(args),
    writeContract: (args) => client.writeContract({ ...args, args: args.args ?? [] }),
    sendTransaction: (args) => client.sendTransaction(args),
    waitForTransactionReceipt: (args) => client.waitForTransactionReceipt(args),
  });
  const facilitator = new x402Facilitator();
  registerExactEvmScheme(facilitator, { signer, networks: [`eip155:${CHAIN_ID}`] });
  return facilitator;
}

const facilitator = makeFacilitator();
const counts = { verify: 0, settle: 0, supported: 0 };
const calls = [];
const faults = { verify: [], settle: [], supported: [] };

/** What the official class says: {status, body}. */
async function decide(operation, envelope) {
  if (operation === "supported") return { status: 200, body: facilitator.getSupported() };
  const { paymentPayload, paymentRequirements } = envelope ?? {};
  if (!paymentPayload || !paymentRequirements) {
    return { status: 400, body: { error: "Missing paymentPayload or paymentRequirements" } };
  }
  try {
    return { status: 200, body: await facilitator[operation](paymentPayload, paymentRequirements) };
  } catch (error) {
    return { status: 500, body: { error: error instanceof Error ? error.message : "Unknown error" } };
  }
}

/** Takes the first fault of an operation and counts it down. */
function nextFault(operation) {
  const fault = faults[operation][0];
  if (!fault) return {};
  if (fault.times !== 0 && (fault.times = (fault.times ?? 1) - 1) === 0) faults[operation].shift();
  return { ...fault };
}

async function serveCall(operation, text, socket) {
  counts[operation] += 1;
  const fault = nextFault(operation);
  let envelope;
  try {
    envelope = text === "" ? undefined : JSON.parse(text);
  } catch {
    return { status: 400, body: { error: "The body is not JSON" } };
  }
  const replaced = fault.reset || fault.status !== undefined || fault.body !== undefined;
  let answer;
  if (!replaced || fault.after) answer = await decide(operation, envelope);
  calls.push({ operation, request: envelope ?? null, answer: answer ?? null });
  if (calls.length > MAX_CALLS_KEPT) calls.shift();
  if (fault.delayMs) await sleep(fault.delayMs);
  if (fault.reset) {
    socket.destroy();
    return undefined;
  }
  return replaced ? { status: fault.status ?? 500, body: fault.body ?? "" } : answer;
}

function setFaults(text) {
  const wanted = JSON.parse(text);
  for (const operation of Object.keys(wanted)) {
    if (!(operation in faults)) return { status: 400, body: { error: `No such operation: ${operation}` } };
    faults[operation] = [wanted[operation]].flat();
  }
  return { status: 200, body: faults };
}

async function route(request, text) {
  switch (`${request.method} ${request.url}`) {
    case "POST /verify":
      return serveCall("verify", text, request.socket);
    case "POST /settle":
      return serveCall("settle", text, request.socket);
    case "GET /supported":
      return serveCall("supported", text, request.socket);
    case "GET /health":
      return { status: 200, body: { ok: true } };
    case "GET /counts":
      return { status: 200, body: counts };
    case "GET /calls":
      return { status: 200, body: calls };
    case "POST /faults":
      return setFaults(text);
    default:
      return { status: 404, body: { error: "No such route" } };
  }
}

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

const server = http.createServer(async (request, response) => {
  let answer;
  try {
    answer = await route(request, await readBody(request));
  } catch (error) {
    answer = { status: 500, body: { error: String(error) } };
  }
  if (!answer || response.destroyed) return;
  const body = typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body, (_, v) => (typeof v === "bigint" ? v.toString() : v));
  response.writeHead(answer.status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
});
// A proxy keeps its connections for as long as it likes; closing one under it would look like an outage.
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.listen(Number(PORT), "127.0.0.1", () => {
  console.log(`facilitator ready on http://127.0.0.1:${server.address().port}`);
});
