// What `cargo xtask demo --keep` tells the page: where its gate is, whose test money it may spend, and what there is to buy.

/** Something to buy. */
export interface Errand {
  title: string;
  about: string;
  path: string;
}

/** The demo as it runs. */
export interface Demo {
  /** Origin of the gate. */
  gate: string;
  /** Origin of the chain's node. */
  chain: string;
  /** CAIP-19 id of the dollars that it is paid in. */
  asset: string;
  /** An account of the local chain whose key is public: test money. */
  wallet: { address: string; key: `0x${string}` };
  errands: Errand[];
}

/** Public keys of the gate, which sign its receipts. */
export type SellerKeys = JsonWebKey[];

/** Reads what the demo says, and the keys that its gate signs with. */
export async function readDemo(): Promise<{ demo: Demo; keys: SellerKeys }> {
  const demo: Demo = await json("/demo.json");
  const served: { keys: SellerKeys } = await json(`${demo.gate}/.well-known/jwks.json`);
  return { demo, keys: served.keys };
}

async function json<Kind>(url: string): Promise<Kind> {
  const response = await fetch(url, { cache: "no-store" });
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return (await response.json()) as Kind;
}
