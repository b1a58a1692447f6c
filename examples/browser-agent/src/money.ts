// Amounts are whole millionths of a dollar; nothing here is a float.

const PLACES = 6;
const UNIT = 10n ** BigInt(PLACES);

/** `"0.40"` → 400000n; `undefined` if the text is no amount of up to six decimals. */
export function parse(text: string): bigint | undefined {
  const [, whole = "", part = ""] = /^\$?\s*(\d{1,9})(?:\.(\d{1,6}))?$/.exec(text.trim()) ?? [];
  return whole === "" ? undefined : BigInt(whole) * UNIT + BigInt(part.padEnd(PLACES, "0"));
}

/** 400000n → `"0.4"`, as a policy writes it. */
export function decimal(amount: bigint): string {
  const part = (amount % UNIT).toString().padStart(PLACES, "0").replace(/0+$/, "");
  return `${amount / UNIT}${part && `.${part}`}`;
}

/** 400000n → `"$0.40"`, for people. */
export function dollars(amount: bigint): string {
  const [whole = "0", part = ""] = decimal(amount).split(".");
  return `$${whole}.${part.padEnd(2, "0")}`;
}

/** `"0.4 usd"`, as the engine says it, → `"$0.40"`; other texts stay as they are. */
export function priced(text: string): string {
  const amount = text.endsWith(" usd") ? parse(text.slice(0, -" usd".length)) : undefined;
  return amount === undefined ? text : dollars(amount);
}
