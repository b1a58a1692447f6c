// A WebAssembly instance: one for the whole process, made when it is first needed, and made anew if it ever traps.

/** What wasm-bindgen makes for a module. */
interface Bindings {
  initSync(input: { module: Module }): unknown;
  __wbg_reset_state(): void;
  settle(id: number, good: boolean, value: unknown): void;
  is_running(): boolean;
}

/** Whatever is under way in the instance and must hear of its end. */
export interface Mortal {
  died(): void;
}

/** A `WebAssembly.Module`: a name that the types of some runtimes do not have. */
export type Module = object;

/** Where a module comes from. */
export type Source = Module | (() => Module);

/** What `init` takes. */
export type Loadable = string | URL | Request | Response | ArrayBuffer | ArrayBufferView | Module;

/** The instance of one module. */
export class Runtime<B extends Bindings> {
  readonly #bindings: B;
  readonly #living = new Set<Mortal>();
  #wasm: Source | undefined;
  #made = false;
  #alive = false;
  #life = 0;
  #depth = 0;

  constructor(bindings: B) {
    this.#bindings = bindings;
  }

  /** Says where the module comes from; entries of the package do, before anything else runs. The last word counts. */
  provide(source: Source): void {
    this.#wasm = source;
  }

  /** Whether the module is there. */
  isProvided(): boolean {
    return this.#wasm !== undefined;
  }

  /** The instance. */
  instance(): B {
    if (!this.#alive) {
      const wasm = this.#wasm;
      if (wasm === undefined) {
        throw new Error("farebox: await init() first; on this platform WebAssembly must be loaded by the caller");
      }
      if (this.#made) {
        this.#bindings.__wbg_reset_state();
      } else {
        this.#bindings.initSync({ module: typeof wasm === "function" ? (wasm as () => Module)() : wasm });
        this.#made = true;
      }
      this.#alive = true;
    }
    return this.#bindings;
  }

  /** Changes whenever the instance is made anew: what was made in an earlier life means nothing in this one. */
  currentLife(): number {
    return this.#life;
  }

  /** Registers what must hear if the instance dies. */
  watch(mortal: Mortal): void {
    this.#living.add(mortal);
  }

  /** The opposite of {@link watch}. */
  unwatch(mortal: Mortal): void {
    this.#living.delete(mortal);
  }

  /**
   * Calls into the instance. A trap there is the end of it and of everything under way in it, and so is whatever else breaks
   * off a task in the middle of its poll, such as a full stack or something that JavaScript threw there.
   */
  enter<T>(call: (wasm: B) => T): T {
    const wasm = this.instance();
    const before = this.#life;
    this.#depth += 1;
    try {
      return call(wasm);
    } catch (error) {
      if (before === this.#life && (error instanceof WebAssembly.RuntimeError || (this.#depth === 1 && wasm.is_running()))) {
        this.#die();
      }
      throw error;
    } finally {
      this.#depth -= 1;
    }
  }

  #die(): void {
    this.#alive = false;
    this.#life += 1;
    const all = [...this.#living];
    this.#living.clear();
    for (const mortal of all) {
      try {
        mortal.died();
      } catch {
        // The others must hear of it all the same.
      }
    }
  }

  /** Settles a promise that the instance waits for, unless that was in an earlier life. */
  settle(inLife: number, id: number, good: boolean, value: unknown): void {
    if (inLife !== this.#life || !this.#alive) return;
    try {
      this.enter((wasm) => wasm.settle(id, good, value));
    } catch {
      // Whoever waited has heard of it.
    }
  }
}

/** Compiles a module, or finds that it is one. */
export async function compiled(source: Loadable): Promise<Module> {
  if (source instanceof WebAssembly.Module) return source;
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return WebAssembly.compile(source as BufferSource);
  const response = source instanceof Response ? source : await fetch(source as string | URL | Request);
  if (!response.ok) throw new Error(`farebox: ${response.url}: ${response.status}`);
  return WebAssembly.compile(await response.arrayBuffer());
}
