// `farebox/agent/file`: counters in a folder, which processes of one machine share.
//
// The blob of revision n is the file `counters-n`. It is written aside, and comes to be under its name by a hard link,
// which is made only if the name is free: of two processes that expect the same revision, one writes, and a process that
// is killed at any moment leaves either the one or the other. There is no lock that a process could take with it.
//
// Old revisions must not vanish while somebody may still try to write the one after: that name would be free again. The file
// of revision n + 1 is made by who has read n, and nobody has found n - 1 to be the newest since. So whoever writes removes
// revision n once that file is older than a while, by the clock of the file system alone; and nobody writes on what was read
// longer ago than a shorter while, by any clock.
import { link, mkdir, open, readdir, readFile, stat, unlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { pid, kill } from "node:process";
import type { Store } from "./types.js";

/** Milliseconds for which a revision that was read may be written on. */
const FRESH = 5_000;
/** Milliseconds for which a revision stays that has been replaced. */
const REPLACED = 20_000;
/** The most revisions that are removed by one that is written. */
const REMOVED = 64;
/** Milliseconds after which a process of another machine that shares the folder no longer counts as there. */
const FOREIGN = 86_400_000;
const NAME = /^counters-(\d{1,15})$/;

/** How counters are kept. */
export interface FileStoreOptions {
  /**
   * Whether each change is on the disk before it counts (`true`, the default), so that not even a loss of power forgets
   * a payment. What a process that is killed has written is kept either way.
   */
  sync?: boolean;
}

/** Counters in the folder `directory`, which is made if it is not there, for this user alone. */
export function fileStore(directory: string, { sync = true }: FileStoreOptions = {}): Store {
  let read = { revision: -1, at: [0, 0] };
  let parts = 0;
  const path = (revision: number) => join(directory, `counters-${revision}`);
  const present = once(() => mkdir(directory, { recursive: true, mode: 0o700 }));
  const revisions = async () => {
    await present();
    return (await readdir(directory)).flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number);
  };
  const newest = async () => (await revisions()).reduce((last, revision) => Math.max(last, revision), 0);
  /** Removes what was replaced long before `written`, which was written now. */
  const tidy = async (written: number) => {
    const now = (await stat(path(written))).mtimeMs;
    const all = (await revisions()).filter((revision) => revision <= written).sort((a, b) => a - b);
    for (let at = 0; at + 1 < all.length && at < REMOVED; at += 1) {
      if (now - (await stat(path(all[at + 1]!))).mtimeMs < REPLACED) return;
      await unlink(path(all[at]!));
    }
  };
  const registered = once(async () => {
    await present();
    return register(directory);
  });
  let asked = false;
  return {
    async load() {
      await registered();
      const at = clocks();
      for (;;) {
        const revision = await newest();
        if (revision === 0) {
          read = { revision, at };
          return undefined;
        }
        try {
          const bytes = await readFile(path(revision));
          read = { revision, at };
          return { bytes: new Uint8Array(bytes), version: String(revision) };
        } catch (error) {
          gone(error); // it was replaced and removed meanwhile
        }
      }
    },
    async swap(expected, bytes) {
      const revision = Number(expected ?? 0);
      const { at } = read.revision === revision ? read : { at: [-Infinity] };
      const isFresh = () => clocks().every((now, clock) => Math.abs(now - (at[clock] ?? -Infinity)) < FRESH);
      if (!isFresh()) return false;
      await present();
      const aside = join(directory, `part-${pid}-${(parts += 1)}-${Math.random().toString(36).slice(2)}`);
      try {
        await writeFile(aside, bytes, { mode: 0o600, flush: sync });
        if (!isFresh()) return false;
        try {
          await link(aside, path(revision + 1));
        } catch (error) {
          if ((error as { code?: unknown }).code === "EEXIST") return false;
          throw error;
        }
        // Who slept for so long here cannot tell whether it was written over what others have done.
        if (!isFresh()) throw new Error("the store was too slow");
        if (sync) await synced(directory);
        // It is written, whatever is left lying about.
        await tidy(revision + 1).catch(() => {});
        return true;
      } finally {
        await unlink(aside).catch(gone);
      }
    },
    async alone() {
      const alone = await registered();
      const first = !asked;
      asked = true;
      return alone && first;
    },
  };
}

/** Does something once, or again if it failed. */
function once<T>(work: () => Promise<T>): () => Promise<T> {
  let done: Promise<T> | undefined;
  return () =>
    (done ??= work().catch((error: unknown) => {
      done = undefined;
      throw error;
    }));
}

/** One that does not jump, and one that does not stand still while the machine sleeps. */
function clocks(): number[] {
  return [performance.now(), Date.now()];
}

/** Says that this process uses the folder; whether no other does. */
async function register(directory: string): Promise<boolean> {
  const here = `user-${encodeURIComponent(hostname())}-`;
  const mine = `${here}${pid}-${await started(pid)}-${Math.random().toString(36).slice(2)}`;
  try {
    await writeFile(join(directory, mine), String(Date.now()), { mode: 0o600 });
    let alone = true;
    for (const name of await readdir(directory)) {
      if (!name.startsWith("user-") || name === mine) continue;
      if (await lives(directory, name, here)) alone = false;
      else await unlink(join(directory, name)).catch(gone);
    }
    return alone;
  } catch (error) {
    // It would be somebody else to the next attempt.
    await unlink(join(directory, mine)).catch(() => {});
    throw error;
  }
}

async function lives(directory: string, name: string, here: string): Promise<boolean> {
  if (!name.startsWith(here)) {
    // Nothing can be known of another machine's processes, but for how long they are there.
    const since = Number(await readFile(join(directory, name), "utf8").catch(() => "0"));
    return Date.now() - since < FOREIGN;
  }
  const [process, start] = name.slice(here.length).split("-");
  try {
    kill(Number(process), 0);
  } catch (error) {
    if ((error as { code?: unknown }).code === "ESRCH") return false;
  }
  return (await started(Number(process))) === start;
}

/** When a process was started, where the system tells: numbers of processes come round. */
async function started(process: number): Promise<string> {
  const stat = await readFile(`/proc/${process}/stat`, "utf8").catch(() => "");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "0";
}

async function synced(directory: string): Promise<void> {
  const folder = await open(directory, "r").catch(() => undefined);
  // Some systems cannot.
  await folder?.sync().catch(() => {});
  await folder?.close();
}

function gone(error: unknown): void {
  if ((error as { code?: unknown }).code !== "ENOENT") throw error;
}
