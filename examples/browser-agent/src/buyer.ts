// The agent of `farebox/agent`, with what this page keeps of it: the limits that were set, and what was paid.
import {
  ApprovalNeeded,
  createAgent,
  indexedDbStore,
  sessionKey,
  webCryptoHolder,
  type Agent,
  type AgentEvent,
  type Question,
} from "farebox/agent";
import type { Demo, SellerKeys } from "./demo";
import { BUDGET, policyFor, type Limits } from "./limits";
import { parse } from "./money";

/** What the browser keeps beside the counters, which are in IndexedDB. */
interface Kept {
  /** Name of the store. Starting over takes a new one. */
  store: string;
  serial: number;
  limits: { total: string; ask: string; cap: string };
}

const KEPT = "farebox-browser-agent";

/** What a buyer asks the page. */
export interface Page {
  /** The person's answer to what needs their word. */
  approve(question: Question): Promise<boolean>;
  /** The person's answer to limits that allow more than those before. */
  loosen(): Promise<boolean>;
  /** Something has happened. */
  happened(event: AgentEvent): void;
}

/** An agent that buys at the demo's gate, once limits are set. */
export class Buyer {
  agent: Agent | undefined;
  limits: Limits | undefined;
  #kept: Kept | undefined;

  constructor(
    readonly demo: Demo,
    readonly keys: SellerKeys,
    readonly page: Page,
  ) {
    // Limits and counters outlive the page: a reload does not fill the budget again.
    const text = localStorage.getItem(KEPT);
    if (text === null) return;
    const kept = JSON.parse(text) as Kept;
    this.#use(kept);
  }

  /**
   * Sets limits. The first ones begin the budget; later ones are adopted by the engine, which wants a person's word if
   * they allow more than before. `false` if the person said no.
   */
  async set(limits: Limits): Promise<boolean> {
    const kept: Kept = {
      store: this.#kept?.store ?? `budget-${crypto.randomUUID()}`,
      serial: (this.#kept?.serial ?? 0) + 1,
      limits: { total: String(limits.total), ask: String(limits.ask), cap: String(limits.cap) },
    };
    if (!this.agent) {
      this.#use(kept);
      await this.agent!.begin();
    } else if (!(await this.#adopt(limits, kept.serial))) {
      return false;
    }
    this.#kept = kept;
    this.limits = limits;
    localStorage.setItem(KEPT, JSON.stringify(kept));
    return true;
  }

  /** Forgets limits and counters. */
  startOver(): void {
    this.agent?.close();
    this.agent = this.limits = this.#kept = undefined;
    localStorage.removeItem(KEPT);
  }

  /** Asks for something. Payment, tokens and receipts are the agent's business. */
  async fetch(path: string, signal: AbortSignal): Promise<Response> {
    if (!this.agent) throw new Error("no limits are set");
    return this.agent.fetch(this.demo.gate + path, { signal });
  }

  /** The budget: the most, what is used of it, and what of that is only reserved. */
  async standing(): Promise<{ max: bigint; used: bigint; open: { url: string; amount: bigint }[] } | undefined> {
    if (!this.agent) return undefined;
    const [left, open] = await Promise.all([this.agent.left(), this.agent.open()]);
    const budget = left.find(({ rule }) => rule === `budgets ${BUDGET}`);
    if (!budget) return undefined;
    return {
      max: parse(budget.max) ?? 0n,
      used: parse(budget.used) ?? 0n,
      open: open.map(({ url, amount }) => ({ url, amount: BigInt(amount) })),
    };
  }

  async #adopt(limits: Limits, serial: number): Promise<boolean> {
    const policy = policyFor(limits, serial, this.demo, this.keys);
    try {
      await this.agent!.adopt(policy);
    } catch (error) {
      if (!(error instanceof ApprovalNeeded)) throw error;
      if (!(await this.page.loosen())) return false;
      await this.agent!.adopt(policy, { loosen: true });
    }
    return true;
  }

  #use(kept: Kept): void {
    const limits = { total: BigInt(kept.limits.total), ask: BigInt(kept.limits.ask), cap: BigInt(kept.limits.cap) };
    this.agent = createAgent({
      policy: policyFor(limits, kept.serial, this.demo, this.keys),
      wallet: sessionKey(this.demo.wallet.key),
      store: indexedDbStore({ name: kept.store }),
      // Passes are bound to a key that never leaves the browser.
      holder: webCryptoHolder({ name: `${kept.store}-holder` }),
      ask: (question) => this.page.approve(question),
      onEvent: (event) => this.page.happened(event),
    });
    this.#kept = kept;
    this.limits = limits;
  }
}
