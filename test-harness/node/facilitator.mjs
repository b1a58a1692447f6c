// An x402 facilitator over HTTP: the official `x402Facilitator` class with the official EVM schemes (exact in v2 and v1,
// upto) and viem, behind a small keep-alive server. The class decides; this file only carries.
//
//   PORT=… RPC_URL=… PRIVATE_KEY=0x… node facilitator.mjs
//
// Environment, besides
//   CHAIN_ID             84532 if absent
//   FACTORIES            addresses of factories that may deploy a payer's wallet (ERC-6492), with commas
//   CONFIRMATION_MS      how long a settlement waits for its receipt before it is `settlement_pending`; 180000 if absent
//
// Routes
//   POST /verify, POST /settle   {x402Version, paymentPayload, paymentRequirements} → 200, whether valid or not;
//                                400 if the envelope is not one; 500 {"error"} if the class throws
//   GET  /supported, GET /health
//   GET  /counts                 calls that arrived: {"verify", "settle", "supported"}
//   GET  /calls                  the last 1000 calls: [{"operation", "request", "answer", "headers"}]
//   POST /faults                 {"verify" | "settle" | "supported": [fault, …]} replaces the faults of the named
//                                operations; each call takes the first fault and counts it down.
//
// A fault is an object. What happens, in this order:
//   thirdParty: true     another account submits the payment first: an EIP-3009 authorization, or `exact` by Permit2
//   the official class is asked, unless the fault replaces its answer (reset, drop, status or body) without `after`
//     pending: true      no receipt comes during this call: the class says `settlement_pending`, remembers the
//                        transaction, and looks for its receipt when it is asked again
//     after: true        the class is asked although its answer is replaced: a settlement reaches the chain
//   delayMs              the answer waits so long
//   drop: true           no answer, ever; the connection stays open
//   reset: true          no answer; the connection is closed
//   status, body         this is answered instead (a body that is not a string is sent as JSON)
//   edit: {…}            these fields replace those of the answer; null takes one away
//   pad: N               the answer gets a field of N bytes
//   truncate: N          only the first N bytes of the answer, as if they were all; negative: that many are missing
//   cut: N               the first N bytes of the body, of those that the header promised, then the connection is closed
//   headers: {…}         these are answered too, or instead
// and
//   times                how many calls it is for, 1 if absent; 0 means all
import { AsyncLocalStorage } from "node:async_hooks";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner, x402ExactPermit2ProxyABI } from "@x402/evm";
import { registerExactEvmScheme } from "@x402/evm/exact/facilitator";
import { UptoEvmScheme } from "@x402/evm/upto/facilitator";
import { createWalletClient, defineChain, http as rpcTransport, parseAbi, publicActions } from "viem";
import { nonceManager, privateKeyToAccount } from "viem/accounts";

const { PORT = "0", RPC_URL, PRIVATE_KEY, CHAIN_ID = "84532", FACTORIES = "", CONFIRMATION_MS = "180000" } = process.env;
if (!RPC_URL || !PRIVATE_KEY) {
  console.error("facilitator: RPC_URL and PRIVATE_KEY must be set");
  process.exit(2);
}

const MAX_CALLS_KEPT = 1000;
/** One of Anvil's accounts, which the node signs for: anybody may submit an authorization. */
const THIRD_PARTY = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720";
const TRANSFER_WITH_AUTHORIZATION = parseAbi([
  "function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature)",
]);

/** The fault of the call that is being worked on. */
const currentFault = new AsyncLocalStorage();

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
    waitForTransactionReceipt: (args) => {
      if (currentFault.getStore()?.pending) throw new Error(`Timed out while waiting for transaction "${args.hash}"`);
      return client.waitForTransactionReceipt(args);
    },
  }, { confirmationTimeoutMs: Number(CONFIRMATION_MS) });
  const networks = [`eip155:${CHAIN_ID}`];
  const eip6492AllowedFactories = FACTORIES.split(",").filter((factory) => factory !== "");
  const facilitator = new x402Facilitator();
  registerExactEvmScheme(facilitator, { signer, networks, eip6492AllowedFactories });
  facilitator.register(networks, new UptoEvmScheme(signer));
  return { facilitator, client };
}

const { facilitator, client } = makeFacilitator();
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

/** Submits a payment by EIP-3009 or Permit2 from another account, and waits until it is on the chain. */
async function settleAsThirdParty({ paymentPayload, paymentRequirements }) {
  const { authorization, permit2Authorization, signature } = paymentPayload.payload;
  const hash = await client.writeContract({
    account: THIRD_PARTY,
    ...(permit2Authorization
      ? permit2Settlement(permit2Authorization, signature)
      : transfer(authorization, signature, paymentRequirements.asset)),
  });
  await client.waitForTransactionReceipt({ hash });
}

function transfer({ from, to, value, validAfter, validBefore, nonce }, signature, asset) {
  return {
    address: asset,
    abi: TRANSFER_WITH_AUTHORIZATION,
    functionName: "transferWithAuthorization",
    args: [from, to, BigInt(value), BigInt(validAfter), BigInt(validBefore), nonce, signature],
  };
}

function permit2Settlement({ from, permitted, spender, nonce, deadline, witness }, signature) {
  const permit = {
    permitted: { token: permitted.token, amount: BigInt(permitted.amount) },
    nonce: BigInt(nonce),
    deadline: BigInt(deadline),
  };
  return {
    address: spender,
    abi: x402ExactPermit2ProxyABI,
    functionName: "settle",
    args: [permit, from, { to: witness.to, validAfter: BigInt(witness.validAfter) }, signature],
  };
}

/** What goes on the wire: {status, headers, body, cut}, or "drop" or "reset". */
async function serveCall(operation, text, headers) {
  counts[operation] += 1;
  const fault = nextFault(operation);
  let envelope;
  try {
    envelope = text === "" ? undefined : JSON.parse(text);
  } catch {
    return { status: 400, body: { error: "The body is not JSON" } };
  }
  if (fault.thirdParty) await settleAsThirdParty(envelope);
  const replaced = fault.reset || fault.drop || fault.status !== undefined || fault.body !== undefined;
  let answer;
  if (!replaced || fault.after) answer = await currentFault.run(fault, () => decide(operation, envelope));
  calls.push({ operation, request: envelope ?? null, answer: answer ?? null, headers });
  if (calls.length > MAX_CALLS_KEPT) calls.shift();
  if (fault.delayMs) await sleep(fault.delayMs);
  if (fault.drop) return "drop";
  if (fault.reset) return "reset";
  const { status, body } = replaced ? { status: fault.status ?? 500, body: fault.body ?? "" } : answer;
  return { status, headers: fault.headers, body: spoil(body, fault), cut: fault.cut };
}

/** The body as text, after what a fault does to it. */
function spoil(body, { edit, pad, truncate }) {
  if (edit || pad) {
    body = { ...body, ...edit, ...(pad ? { padding: "x".repeat(pad) } : {}) };
    for (const [field, value] of Object.entries(body)) if (value === null) delete body[field];
  }
  const text = toText(body);
  return truncate === undefined ? text : text.slice(0, truncate);
}

function toText(body) {
  return typeof body === "string" ? body : JSON.stringify(body, (_, v) => (typeof v === "bigint" ? v.toString() : v));
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
      return serveCall("verify", text, request.headers);
    case "POST /settle":
      return serveCall("settle", text, request.headers);
    case "GET /supported":
      return serveCall("supported", text, request.headers);
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
  if (answer === "drop" || response.destroyed) return;
  if (answer === "reset") {
    request.socket.destroy();
    return;
  }
  const body = Buffer.from(toText(answer.body));
  response.writeHead(answer.status, {
    "content-type": "application/json",
    "content-length": body.length,
    ...answer.headers,
  });
  if (answer.cut === undefined) response.end(body);
  else response.write(body.subarray(0, answer.cut), () => request.socket.destroy());
});
// A proxy keeps its connections for as long as it likes; closing one under it would look like an outage.
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.listen(Number(PORT), "127.0.0.1", () => {
  console.log(`facilitator ready on http://127.0.0.1:${server.address().port}`);
});
