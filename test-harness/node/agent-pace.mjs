// How long the agent takes in this process, besides the network: a seller that answers at once, counters in memory.
//
//   PACKAGE=<folder of the package> node agent-pace.mjs [ROUNDS]
//
// Prints medians, in microseconds: {"free", "quote", "payment"}
//   free       a request that costs nothing
//   quote      `agent.quote`, from the call to the decision with all its reasons
//   payment    `agent.fetch`, from the call to the response that was paid for: decided, reserved, signed (EIP-3009), written
//              down, sent, concluded
const { PACKAGE } = process.env;
const rounds = Number(process.argv[2] ?? 400);
const { createAgent, memoryStore, sessionKey } = await import(new URL("agent/entry.node.js", `file://${PACKAGE}/`));

const usdc = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
const offer = (amount, payTo = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8") => ({
  scheme: "exact",
  network: "eip155:84532",
  amount,
  asset: usdc,
  payTo,
  maxTimeoutSeconds: 300,
  extra: { name: "USDC", version: "2" },
});
const encoded = (json) => Buffer.from(JSON.stringify(json)).toString("base64");
const required = encoded({
  x402Version: 2,
  error: "Payment required",
  resource: { url: "https://api.example.com/a", description: "a", mimeType: "application/json" },
  accepts: [offer("10000"), offer("20000"), offer("10000", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC")],
});
const settled = encoded({ success: true, transaction: "0xab", network: "eip155:84532", payer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266" });

async function seller(request) {
  if (request.url.endsWith("/free")) return new Response("free");
  return request.headers.has("payment-signature")
    ? new Response("paid", { headers: { "payment-response": settled } })
    : new Response("{}", { status: 402, headers: { "payment-required": required } });
}

const agent = createAgent({
  policy: {
    version: 1,
    assets: [{ asset: `eip155:84532/erc20:${usdc}`, unit: "usd" }],
    allow: [{ match: { hosts: ["api.example.com"], methods: ["GET"] } }],
    deny: [{ match: { resources: ["/admin/*"] } }],
    caps: [{ max: "0.05 usd" }],
    budgets: [
      { name: "day", max: "100000 usd", seconds: 86_400 },
      { name: "host", max: "100000 usd", seconds: 3600, per: ["host"] },
    ],
    calls: [{ name: "minute", max: 1_000_000, seconds: 60 }],
  },
  wallet: sessionKey("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
  store: memoryStore(),
  fetch: seller,
});

async function median(work) {
  const times = [];
  for (let round = 0; round < rounds * 1.5; round += 1) {
    const began = performance.now();
    await work(round);
    times.push(performance.now() - began);
  }
  // The first third is for the compiler.
  times.splice(0, rounds / 2);
  times.sort((a, b) => a - b);
  return Math.round(times[times.length >> 1] * 1000);
}

const free = await median(() => agent.fetch("https://api.example.com/free"));
const quote = await median(() => agent.quote("https://api.example.com/a"));
const payment = await median(async (round) => {
  const response = await agent.fetch(`https://api.example.com/a?${round}`);
  if (response.status !== 200) throw new Error(`status ${response.status}`);
});
console.log(JSON.stringify({ free, quote, payment }));
