// Other people's servers, unmodified, that sell one thing each for $0.01 by the official facilitator:
//
//   PORT=… FACILITATOR=http://… PAYEE=0x… node sellers.mjs express | express-upto | hono | express-v1
//
//   express        `@x402/express`: GET /paid, exact
//   express-upto   `@x402/express`: GET /metered, upto $0.02, of which 7000 units are charged
//   hono           `@x402/hono` on Node: GET /paid, GET /report
//   express-v1     `x402-express` 1.2, version 1 of the protocol: GET /paid
const { PORT = "0", FACILITATOR, PAYEE, NETWORK = "eip155:84532" } = process.env;
const [kind] = process.argv.slice(2);

const price = "$0.01";
const answer = { message: "paid" };
const route = (accepts) => ({ accepts, description: "one answer", mimeType: "application/json" });

async function v2() {
  const { HTTPFacilitatorClient } = await import("@x402/core/server");
  const { registerExactEvmScheme } = await import("@x402/evm/exact/server");
  const { UptoEvmScheme } = await import("@x402/evm/upto/server");
  return { facilitator: new HTTPFacilitatorClient({ url: FACILITATOR }), registerExactEvmScheme, UptoEvmScheme };
}

async function express() {
  const { default: express } = await import("express");
  const { paymentMiddleware, setSettlementOverrides, x402ResourceServer } = await import("@x402/express");
  const { facilitator, registerExactEvmScheme, UptoEvmScheme } = await v2();
  const server = new x402ResourceServer(facilitator);
  registerExactEvmScheme(server, {});
  server.register("eip155:*", new UptoEvmScheme());
  const offer = { network: NETWORK, payTo: PAYEE, maxTimeoutSeconds: 300 };
  const app = express();
  app.use(
    paymentMiddleware(
      {
        "GET /paid": route({ ...offer, scheme: "exact", price }),
        "GET /metered": route({ ...offer, scheme: "upto", price: "$0.02" }),
      },
      server,
    ),
  );
  app.get("/paid", (_, response) => response.json(answer));
  app.get("/metered", (_, response) => {
    setSettlementOverrides(response, { amount: "7000" });
    response.json(answer);
  });
  return app;
}

async function hono() {
  const { serve } = await import("@hono/node-server");
  const { Hono } = await import("hono");
  const { paymentMiddleware, x402ResourceServer } = await import("@x402/hono");
  const { facilitator, registerExactEvmScheme } = await v2();
  const server = new x402ResourceServer(facilitator);
  registerExactEvmScheme(server, {});
  const app = new Hono();
  const offer = route({ network: NETWORK, payTo: PAYEE, maxTimeoutSeconds: 300, scheme: "exact", price });
  app.use(paymentMiddleware({ "GET /paid": offer, "GET /report": offer }, server));
  for (const path of ["/paid", "/report"]) app.get(path, (c) => c.json(answer));
  return { listen: (port, host, ready) => serve({ fetch: app.fetch, port, hostname: host }, ready) };
}

async function expressV1() {
  const { default: express } = await import("express");
  const { paymentMiddleware } = await import("x402-express");
  const app = express();
  const routes = { "GET /paid": { price, network: "base-sepolia", config: { maxTimeoutSeconds: 300 } } };
  app.use(paymentMiddleware(PAYEE, routes, { url: FACILITATOR }));
  app.get("/paid", (_, response) => response.json(answer));
  return app;
}

const kinds = { express, "express-upto": express, hono, "express-v1": expressV1 };
const make = kinds[kind];
if (!make || !FACILITATOR || !PAYEE) {
  console.error(`sellers: FACILITATOR, PAYEE, and one of ${Object.keys(kinds).join(", ")}`);
  process.exit(2);
}
const app = await make();
app.listen(Number(PORT), "127.0.0.1", () => console.log(`sellers: ${kind} on ${PORT}`));
