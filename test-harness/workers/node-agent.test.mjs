// The agent on Node, with callers that leave, people who do not answer, and stores that fail, at a seller that takes
// every payment.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm, rmdir, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createAgent, holderKey, memoryStore, sessionKey, viemWallet } from "farebox/agent";
import { fileStore } from "farebox/agent/file";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";

const URL_PAID = "https://api.example.com/dear";
const USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
const encoded = (json) => Buffer.from(JSON.stringify(json)).toString("base64");
const required = encoded({
  x402Version: 2,
  error: "Payment required",
  resource: { url: URL_PAID },
  accepts: [
    {
      scheme: "exact",
      network: "eip155:84532",
      amount: "10000",
      asset: USDC,
      payTo: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
      maxTimeoutSeconds: 300,
      extra: { name: "USDC", version: "2" },
    },
  ],
});
const policy = {
  version: 1,
  assets: [{ asset: `eip155:84532/erc20:${USDC}`, unit: "usd" }],
  allow: [{ match: { hosts: ["api.example.com"] } }],
  caps: [{ max: "0.05 usd" }],
  budgets: [{ name: "day", max: "1 usd", seconds: 86_400 }],
};

/** A seller, and the payments that came. */
function seller() {
  const payments = [];
  const fetch = async (request) => {
    const payment = request.headers.get("payment-signature");
    if (payment === null) return new Response("{}", { status: 402, headers: { "payment-required": required } });
    payments.push(payment);
    const settled = { success: true, transaction: "0xab", network: "eip155:84532", payer: wallet.address };
    return new Response("dear", { headers: { "payment-response": encoded(settled) } });
  };
  return { fetch, payments };
}

const secret = generatePrivateKey();
const wallet = privateKeyToAccount(secret);

/** An agent with a session key, its events by type, and its seller's payments. */
function buyer(options = {}) {
  const { fetch, payments } = seller();
  const events = [];
  const agent = createAgent({
    policy,
    wallet: sessionKey(secret),
    store: memoryStore(),
    fetch,
    ...options,
    onEvent(event) {
      events.push(event.type);
      options.onEvent?.(event);
    },
  });
  return { agent, payments, events };
}

/** Fails if a promise is not settled soon. */
async function soon(promise) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("it hangs")), 5_000)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function unspent(agent) {
  const [left, open] = [await agent.left(), await agent.open()];
  assert.deepEqual([left[0].used, open], ["0", []]);
}

/** A promise of what somebody does who never does it. */
const never = () => new Promise(() => {});

for (const moment of ["reserved", "signed", "sending"]) {
  test(`a caller who leaves at the event "${moment}" has paid nothing, and nothing is counted`, async () => {
    const controller = new AbortController();
    const leaves = ({ type }) => type === moment && controller.abort(new Error("gone"));
    const { agent, payments, events } = buyer({ onEvent: leaves });
    await assert.rejects(soon(agent.fetch(URL_PAID, { signal: controller.signal })), /^Error: gone$/);
    assert.deepEqual(payments, []);
    await unspent(agent);
    assert.equal(events.includes("signed"), moment !== "reserved");
    assert.equal(events.includes("sending"), moment === "sending");
    assert.equal(events.at(-1), "givenUp");
    assert.equal((await agent.fetch(URL_PAID)).status, 200);
    assert.equal(payments.length, 1);
  });
}

test("a caller who leaves while the payment is written down has paid nothing, and nothing is counted", async () => {
  const controller = new AbortController();
  let signing = false;
  const store = memoryStore();
  const swap = (expected, bytes) => {
    if (signing) controller.abort();
    return store.swap(expected, bytes);
  };
  const { agent, payments, events } = buyer({
    store: { ...store, swap },
    onEvent: ({ type }) => (signing = type === "reserved"),
  });
  await assert.rejects(soon(agent.fetch(URL_PAID, { signal: controller.signal })), { name: "AbortError" });
  assert.deepEqual(payments, []);
  assert(events.includes("signed") && !events.includes("sending"), events.join());
  await unspent(agent);
});

test("a payment that was taken back so late that another may have sent it stays what it is", async () => {
  const controller = new AbortController();
  let now = Date.now();
  const { agent, payments } = buyer({
    clock: () => now,
    onEvent({ type }) {
      if (type !== "signed") return;
      now += 90_000;
      controller.abort();
    },
  });
  await assert.rejects(soon(agent.fetch(URL_PAID, { signal: controller.signal })), { name: "AbortError" });
  assert.deepEqual(payments, []);
  assert.deepEqual((await agent.open()).map(({ stage }) => stage), ["sent"]);
});

test("what was sent when the caller left is doubtful, and the same request sends the same payment", async () => {
  const controller = new AbortController();
  const { fetch, payments } = seller();
  let answers = false;
  const slow = async (request) => {
    const response = await fetch(request);
    if (response.status === 402 || answers) return response;
    controller.abort();
    throw controller.signal.reason;
  };
  const { agent, events } = buyer({ fetch: slow });
  await assert.rejects(soon(agent.fetch(URL_PAID, { signal: controller.signal })), { name: "AbortError" });
  assert.deepEqual((await agent.open()).map(({ stage }) => stage), ["doubtful"]);
  assert.equal(payments.length, 1);
  answers = true;
  assert.equal((await agent.fetch(URL_PAID)).status, 200);
  assert(events.includes("resumed"));
  assert.deepEqual(payments, [payments[0], payments[0]]);
});

test("a wallet is not asked by a caller who has left", async () => {
  for (const moment of ["reserved", "signing"]) {
    let asked = 0;
    const controller = new AbortController();
    const counting = { address: wallet.address, signTypedData: (data) => (asked++, wallet.signTypedData(data)) };
    const leaves = ({ type }) => type === moment && controller.abort();
    const { agent } = buyer({ wallet: viemWallet(counting), onEvent: leaves });
    await assert.rejects(soon(agent.fetch(URL_PAID, { signal: controller.signal })), { name: "AbortError" });
    assert.equal(asked, 0, moment);
    await unspent(agent);
  }
});

test("a call ends with its signal whoever is waited for: the approver, the wallet, the body", async () => {
  const timeout = () => ({ signal: AbortSignal.timeout(50) });
  const asking = buyer({ policy: { ...policy, approvals: [{ above: "0.005 usd" }] }, ask: never });
  await assert.rejects(soon(asking.agent.fetch(URL_PAID, timeout())), { name: "TimeoutError" });
  await unspent(asking.agent);

  const accounts = { accounts: never, sign: never };
  await assert.rejects(soon(buyer({ wallet: accounts }).agent.fetch(URL_PAID, timeout())), { name: "TimeoutError" });
  await assert.rejects(soon(buyer({ wallet: accounts }).agent.quote(URL_PAID, timeout())), { name: "TimeoutError" });

  let cancelled;
  const body = new ReadableStream({ pull: never, cancel: (reason) => void (cancelled = reason) });
  const init = { method: "POST", body, ...timeout() };
  await assert.rejects(soon(buyer().agent.fetch(URL_PAID, init)), { name: "TimeoutError" });
  assert.equal(cancelled?.name, "TimeoutError");
});

test("a body that is a stream is sent whole, with the payment as well", async () => {
  const { fetch, payments } = seller();
  const bodies = [];
  const { agent } = buyer({ fetch: async (request) => (bodies.push(await request.clone().text()), fetch(request)) });
  const body = new Blob(["one, ", "two, ".repeat(50_000), "three"]);
  assert.equal((await agent.fetch(URL_PAID, { method: "POST", body: body.stream() })).status, 200);
  assert.deepEqual(bodies, [await body.text(), await body.text()]);
  assert.equal(payments.length, 1);
});

test("keys outlive a store that fails, and a wallet that is not there yet", async () => {
  const holder = () => holderKey(new Uint8Array(32).fill(7));
  for (const failing of ["load", "swap"]) {
    const store = memoryStore();
    let failures = 1;
    const faulty = (...given) => {
      if (failures-- > 0) throw new Error("EMFILE");
      return store[failing](...given);
    };
    const { agent, payments } = buyer({ holder: holder(), store: { ...store, [failing]: faulty } });
    await assert.rejects(agent.fetch(URL_PAID), { code: "store" });
    assert.equal((await agent.fetch(URL_PAID)).status, 200);
    assert.equal(payments.length, 1);
    assert.equal((await agent.holder()).kty, "OKP");
  }
  let there = false;
  const late = viemWallet(wallet);
  const accounts = () => (there ? late.accounts() : Promise.reject(new Error("locked")));
  const { agent } = buyer({ holder: holder(), wallet: { ...late, accounts } });
  await assert.rejects(agent.fetch(URL_PAID), /locked/);
  there = true;
  assert.equal((await agent.fetch(URL_PAID)).status, 200);
});

/** Runs `work` with a folder of its own. */
async function inFolder(work) {
  const folder = await mkdtemp(join(tmpdir(), "farebox-store-"));
  return work(folder).finally(() => rm(folder, { recursive: true, force: true }));
}

test("a folder that cannot be made or used at first is made and used later", () =>
  inFolder(async (folder) => {
    const parent = join(folder, "parent");
    await writeFile(parent, "");
    const store = fileStore(join(parent, "counters"));
    await assert.rejects(store.load(), { code: "ENOTDIR" });
    await rm(parent);
    assert.equal(await store.load(), undefined);

    // What a process has left that is no longer there, and cannot be removed.
    const stuck = join(folder, `user-${encodeURIComponent(hostname())}-999999999-0-stuck`);
    await mkdir(stuck);
    const other = fileStore(folder);
    await assert.rejects(other.load());
    await rmdir(stuck);
    assert.equal(await other.load(), undefined);
    assert.equal(await other.alone(), true);
    assert.equal((await readdir(folder)).filter((name) => name.startsWith("user-")).length, 1);
  }));

test("revisions that were replaced long ago are removed by whoever writes, and no others", () =>
  inFolder(async (folder) => {
    const bytes = (text) => new TextEncoder().encode(text);
    const revisions = async () =>
      (await readdir(folder)).flatMap((name) => /^counters-(\d+)$/.exec(name)?.[1] ?? []).map(Number).sort((a, b) => a - b);
    const write = async () => {
      // A process that does no more than this.
      const store = fileStore(folder, { sync: false });
      const version = (await store.load())?.version;
      assert.equal(await store.swap(version, bytes(`after ${version}`)), true);
    };
    for (let run = 0; run < 100; run += 1) await write();
    assert.equal((await revisions()).length, 100);
    const ago = (seconds) => new Date(Date.now() - seconds * 1000);
    // The last has replaced the one before just now.
    for (let revision = 1; revision < 100; revision += 1) await utimes(join(folder, `counters-${revision}`), ago(60), ago(60));
    await write();
    assert.deepEqual((await revisions())[0], 65, "a bounded number at once");
    await write();
    assert.deepEqual(await revisions(), [99, 100, 101, 102]);
    const { bytes: kept, version } = await fileStore(folder).load();
    assert.deepEqual([version, new TextDecoder().decode(kept)], ["102", "after 101"]);

    // Who has read a revision does not write on it once others could have removed the next one.
    const slow = fileStore(folder, { sync: false });
    const read = (await slow.load()).version;
    await write();
    assert.equal(await slow.swap(read, bytes("late")), false);
    const [asleep, now] = [fileStore(folder, { sync: false }), Date.now];
    const before = (await asleep.load()).version;
    Date.now = () => now() + 3_600_000;
    const written = await asleep.swap(before, bytes("late")).finally(() => (Date.now = now));
    assert.equal(written, false, "the machine slept");
  }));
