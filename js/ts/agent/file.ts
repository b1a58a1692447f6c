// `farebox/agent/file`: counters in a folder, which processes of one machine share.
//
// The blob of revision n is the file `counters-n`. It is written aside, and comes to be under its name by a hard link,
// which is made only if the name is free: of two processes that expect the same revision, one writes, and a process that
// is killed at any moment leaves either the one or the other. There is no lock that a process could take with it.
//
// Old revisions must not vanish while somebody may still try to write the one after: that name would be free again. So a
// process removes only what it has seen replaced for a while, and does not write on what it has read before that.
import { link, mkdir, open, readdir, readFile, unlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { pid, kill } from "node:process";
import type { Store } from "./types.js";

/** Milliseconds for which a revision that was read may be written on. */
const FRESH = 5_000;
/** Milliseconds after which a revision that was seen replaced is removed. */
const REPLACED = 20_000;
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
  /** Revisions that were seen replaced, and when. */
  const replaced = new Map<number, number>();
  let read = { revision: -1, at: 0 };
  let made: Promise<unknown> | undefined;
  let parts = 0;
  const present = () => (made ??= mkdir(directory, { recursive: true, mode: 0o700 }));
  const path = (revision: number) => join(directory, `counters-${revision}`);
  const newest = async () => {
    await present();
    const revisions = (await readdir(directory)).flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number);
    const last = Math.max(0, ...revisions);
    const now = performance.now();
    for (const revision of revisions) {
      if (revision === last) continue;
      const since = replaced.get(revision);
      if (since === undefined) replaced.set(revision, now);
      else if (now - since > REPLACED) {
        replaced.delete(revision);
        await unlink(path(revision)).catch(gone);
      }
    }
    return last;
  };
  let users: Promise<boolean> | undefined;
  return {
    async load() {
      await (users ??= register(directory, present()));
      const at = performance.now();
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
      const at = read.revision === revision ? read.at : -Infinity;
      const isFresh = () => performance.now() - at < FRESH;
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
        return true;
      } finally {
        await unlink(aside).catch(gone);
      }
    },
    async alone() {
      const alone = await (users ??= register(directory, present()));
      users = Promise.resolve(false);
      return alone;
    },
  };
}

/** Says that this process uses the folder; whether no other does. */
async function register(directory: string, present: Promise<unknown>): Promise<boolean> {
  await present;
  const here = `user-${encodeURIComponent(hostname())}-`;
  const mine = `${here}${pid}-${await started(pid)}-${Math.random().toString(36).slice(2)}`;
  await writeFile(join(directory, mine), String(Date.now()), { mode: 0o600 });
  let alone = true;
  for (const name of await readdir(directory)) {
    if (!name.startsWith("user-") || name === mine) continue;
    if (await lives(directory, name, here)) alone = false;
    else await unlink(join(directory, name)).catch(gone);
  }
  return alone;
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
