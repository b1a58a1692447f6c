// The agent of the npm package `farebox` as a program: one JSON command per line of its input, one JSON answer per line of
// its output (see wire.mjs).
//
//   PACKAGE=<folder of the package> POLICY=<JSON> node agent.mjs
//
// Environment, besides
//   STORE          folder of a `fileStore`; in memory if absent
//   WALLET         session (the default), viem, ethers, provider, contract
//   PRIVATE_KEY    the key that signs; Anvil's account 0 if absent
//   TRANSFERS      how it can pay, with commas: eip3009, permit2
//   CONTRACT       the contract wallet's address
//   BEGIN          fill the budgets of the store if it has none
//   HOLDER         the key of tokens: `webcrypto`, or 64 hexadecimal digits of a key that lives inside the instance
//   ASK            what whoever is asked for approval says: `yes`, `no`
//   NO_BODY        as in a browser whose requests have no `body`
//
// Operations
//   {"op": "pay", "url", "method"?, "headers"?, "body"?, "task"?, "quote"?, "timeout"?}
//        → {"status", "headers", "body", "payment", "requests"} or {"error": {"name", "code", …}, "requests"};
//          each of "requests" is what was sent: {"url", "status", "payment"}
//          "details", what `detailsOf` has beside the payment, is in it too
//   {"op": "import", "arguments": [kind, grant, frame]} → what `importPolicy` gives
//   {"op": "close"} → null
//   {"op": "quote" | "explain" | "left" | "open" | "questions" | "accounts" | "begin" | "approve" | …, "arguments"?}
import { describeError, notePayment, serve } from "./wire.mjs";

const ANVIL_ACCOUNT_0 = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const { PACKAGE, POLICY, STORE, BEGIN, CONTRACT, WALLET = "session", PRIVATE_KEY = ANVIL_ACCOUNT_0, TRANSFERS, HOLDER, ASK } =
  process.env;
// For the package that is built with faults to switch on.
globalThis.FAREBOX_MUTANT = process.env.FAREBOX_MUTANT;
if (process.env.NO_BODY) delete Request.prototype.body;
const load = (file) => import(new URL(file, `file://${PACKAGE}/`));
const farebox = await load("agent/entry.node.js");
const { fileStore } = await load("agent/file.js");

const options = TRANSFERS ? { transfers: TRANSFERS.split(",") } : {};

async function makeWallet() {
  const { sessionKey, viemWallet, ethersWallet, providerWallet, contractWallet } = farebox;
  if (WALLET === "session") return sessionKey(PRIVATE_KEY, options);
  const { privateKeyToAccount } = await import("viem/accounts");
  const account = privateKeyToAccount(PRIVATE_KEY);
  switch (WALLET) {
    case "viem":
      return viemWallet(account, options);
    case "ethers": {
      const { Wallet } = await import("ethers");
      return ethersWallet(new Wallet(PRIVATE_KEY), options);
    }
    case "provider": {
      // As wallets in browsers do it: hexadecimal chain ids, typed data as text.
      let chain = "0x1";
      const request = async ({ method, params }) => {
        switch (method) {
          case "eth_requestAccounts":
            return [account.address.toLowerCase()];
          case "eth_chainId":
            return chain;
          case "wallet_switchEthereumChain":
            chain = params[0].chainId;
            return null;
          case "eth_signTypedData_v4": {
            const [address, text] = params;
            const data = JSON.parse(text);
            if (address.toLowerCase() !== account.address.toLowerCase()) throw new Error(`not mine: ${address}`);
            if (Number(chain) !== Number(data.domain.chainId)) throw new Error("on another chain");
            return account.signTypedData(data);
          }
          default:
            throw Object.assign(new Error(`unsupported: ${method}`), { code: 4200 });
        }
      };
      return providerWallet({ request }, options);
    }
    case "contract":
      // The byte more keeps official code from taking it for a plain ECDSA signature; see contracts/OwnedWallet.sol.
      return contractWallet({ address: CONTRACT, owner: viemWallet(account), encode: (signature) => `${signature}00` });
    default:
      throw new Error(`no wallet ${WALLET}`);
  }
}

const events = [];
let requests = [];
/** The runtime's `fetch`, with notes. */
async function noting(request) {
  const note = { url: request.url, method: request.method, payment: notePayment((name) => request.headers.get(name)).paymentSignature };
  requests.push(note);
  const response = await fetch(request);
  note.status = response.status;
  return response;
}

function makeHolder() {
  if (!HOLDER) return undefined;
  return HOLDER === "webcrypto" ? farebox.webCryptoHolder() : farebox.holderKey(Uint8Array.from(Buffer.from(HOLDER, "hex")));
}

const agent = farebox.createAgent({
  policy: POLICY,
  wallet: await makeWallet(),
  holder: makeHolder(),
  ask: ASK ? async () => ASK === "yes" : undefined,
  store: STORE ? fileStore(STORE) : farebox.memoryStore(),
  fetch: noting,
  onEvent: (event) => events.push(event),
});
if (BEGIN) await agent.begin();

function described(error) {
  const { name, code, message, reasons, retryAt, question, payment, explanation, mistakes } = error;
  return { name, code, message: code === undefined ? describeError(error) : message, reasons, retryAt, question, payment, explanation, mistakes };
}

async function pay({ url, method, headers, body, task, agent: name, quote, timeout }) {
  const mine = (requests = []);
  try {
    const init = { method, headers, body, farebox: { task, agent: name, quote } };
    if (timeout !== undefined) init.signal = AbortSignal.timeout(timeout);
    const response = await agent.fetch(url, init);
    const text = await response.text();
    const payment = farebox.paymentOf(response) ?? null;
    const { payment: _, ...details } = farebox.detailsOf(response);
    return { status: response.status, headers: Object.fromEntries(response.headers), body: text, payment, details, requests: mine };
  } catch (error) {
    return { error: described(error), requests: mine };
  }
}

/** Many at once; the notes are of all. */
async function payAll({ purchases }) {
  const mine = (requests = []);
  const answers = await Promise.all(
    purchases.map(async ({ url, ...init }) => {
      try {
        const response = await agent.fetch(url, init);
        return { status: response.status, body: await response.text(), payment: farebox.paymentOf(response) ?? null };
      } catch (error) {
        return { error: described(error) };
      }
    }),
  );
  return { answers, requests: mine };
}

const methods = ["quote", "explain", "left", "open", "questions", "accounts", "begin", "approve", "reject", "adopt", "unfreeze", "evidence", "tokens", "delegate", "keep", "drop", "holder"];
const operations = { pay, "pay-all": payAll, events: async () => events.splice(0), close: async () => agent.close() ?? null };
operations.import = async ({ arguments: given }) => {
  try {
    return farebox.importPolicy(...given);
  } catch (error) {
    return { error: described(error) };
  }
};
for (const method of methods) {
  operations[method] = async ({ arguments: given = [] }) => {
    try {
      return (await agent[method](...given)) ?? null;
    } catch (error) {
      return { error: described(error) };
    }
  };
}

serve((await agent.accounts())[0] ?? "", operations);
