import type { ReserveOutcome } from "./calls.ts";
import type { Command } from "./command-fixture.ts";
import { levelsOf } from "./kernel-levels.ts";
import type { State } from "./kernel-state.ts";
import type { Operation, World } from "./operation-fixture.ts";

// Gateways and a provider around a ledger. The gateways know only what they were answered; the provider knows what it
// charges. A command happens to them first, and what they then ask the ledger is an operation.

/** One attempt at a call, as its gateway and the provider know it. */
export type Attempt = {
  workspaceId: string;
  holdId: string;
  runId: string;
  callNo: number;
  ownerId: string;
  priceVersion: string;
  inputTokens: number;
  maxTokens: number;
  /** The gateway asks whether it may send. */
  asking: boolean;
  /** The gateway was told that the hold stands and is marked as sent. */
  maySend: boolean;
  /** The gateway has given it up, and will not send it any more. */
  over: boolean;
  /** What the gateway knows that the provider charges; null while it does not. */
  knownNanoUsd: number | null;
  /** Output tokens of which the gateway was told; never less than before. */
  toldTokens: number;
  /** The provider's side. */
  sentAtMs: number | null;
  outputTokens: number;
  beyondNanoUsd: number;
  free: boolean;
  done: boolean;
};

type Gateway = {
  processId: string;
  alive: boolean;
  starts: number;
  skewMs: number;
  priceVersion: string;
};

type Prices = { input: number; output: number };

export type Stage = {
  readonly attempts: ReadonlyMap<string, Attempt>;
  /** The command happens. -> what the ledger is asked for it, if anything */
  perform(command: Command, state: State): Operation | undefined;
  /** The ledger has answered. */
  answered(operation: Operation, outcome: unknown): void;
  /** The answer was lost: the asker may not send. */
  lost(operation: Operation): void;
  /** What the provider charges for an attempt by now, without what it charges beyond its bound. */
  truthOf(attempt: Attempt): number;
  /** How wrong the clock of a process is. */
  skewOf(processId: string): number;
};

type Cast = {
  world: World;
  attempts: Map<string, Attempt>;
  gateways: readonly [Gateway, Gateway];
  prices: Map<string, Prices>;
  attemptNos: Map<string, number>;
  newHoldId(): string;
};

function truthOf({ prices }: Cast, attempt: Attempt): number {
  if (attempt.sentAtMs === null || attempt.free) return 0;
  const { input, output } = prices.get(attempt.priceVersion)!;
  return attempt.inputTokens * input + attempt.outputTokens * output;
}

/** Whether something would come of the command for this attempt. */
function fits(cast: Cast, type: Command["type"], attempt: Attempt): boolean {
  const alive = isAlive(cast, attempt.ownerId);
  const listens = alive && !attempt.over && attempt.knownNanoUsd === null;
  const running = attempt.sentAtMs !== null && !attempt.done;
  switch (type) {
    case "dispatch":
      return listens && !attempt.maySend;
    case "send":
      return listens && attempt.maySend && attempt.sentAtMs === null;
    case "cut":
      return listens && attempt.maySend;
    case "chunk":
    case "finish":
    case "refused":
      return running;
    case "reconcile":
      return attempt.knownNanoUsd === null && (!alive || attempt.over || attempt.maySend);
    case "known_dead":
      return !alive;
    default:
      return true;
  }
}

/** Mostly one that the command is about, from the newest; now and then just any. */
function pickAttempt(cast: Cast, command: Command & { pick: number }): Attempt | undefined {
  const all = [...cast.attempts.values()].toReversed();
  const fitting = command.pick === 7 ? all : all.filter((one) => fits(cast, command.type, one));
  return fitting[command.pick % Math.max(1, fitting.length)];
}

const isAlive = (cast: Cast, processId: string): boolean =>
  cast.gateways.some((gateway) => gateway.processId === processId && gateway.alive);

function admit(
  cast: Cast,
  command: Extract<Command, { type: "admit" }>,
  state: State,
): Operation | undefined {
  const gateway = cast.gateways[command.gateway]!;
  if (!gateway.alive) return undefined;
  const { workspaceId, runId } = cast.world.runs[command.run]!;
  const { input, output } = cast.prices.get(gateway.priceVersion)!;
  const ended = [...cast.attempts.values()].filter(
    (attempt) => attempt.runId === runId && (attempt.over || attempt.knownNanoUsd !== null),
  );
  const earlier =
    command.retry === null ? undefined : ended[command.retry % Math.max(1, ended.length)];
  const call = `${runId}|${earlier?.callNo ?? "new"}`;
  const attemptNo = earlier ? (cast.attemptNos.get(call) ?? 1) + 1 : 1;
  if (earlier) cast.attemptNos.set(call, attemptNo);
  return {
    type: "reserve",
    ask: {
      workspaceId,
      runId,
      epoch: state.runs.get(runId)!.epoch - (command.stale ? 1 : 0),
      holdId: cast.newHoldId(),
      ...(earlier ? { callNo: earlier.callNo } : {}),
      attemptNo,
      ownerId: gateway.processId,
      priceVersion: gateway.priceVersion,
      inputNanoUsd: command.inputTokens * input,
      outputNanoUsdPerToken: output,
      maxTokens: command.maxTokens,
      minTokens: command.minTokens,
      dispatch: command.dispatch,
    },
  };
}

function settled(attempt: Attempt, outcome: "settled" | "provisional" | "void"): Operation {
  const { workspaceId, holdId, knownNanoUsd } = attempt;
  const known = outcome === "settled" ? { actualNanoUsd: knownNanoUsd ?? 0 } : {};
  return { type: "settle", ask: { workspaceId, holdId, outcome, ...known } };
}

/** What happens to one attempt. */
function touch(
  cast: Cast,
  { command, attempt, nowMs }: { command: Command; attempt: Attempt; nowMs: number },
): Operation | undefined {
  const { workspaceId, holdId, ownerId } = attempt;
  const alive = isAlive(cast, ownerId);
  const running = attempt.sentAtMs !== null && !attempt.done;
  const listens = alive && !attempt.over;
  const learn = (): Operation | undefined => {
    if (!listens) return undefined;
    attempt.knownNanoUsd = truthOf(cast, attempt) + attempt.beyondNanoUsd;
    return settled(attempt, "settled");
  };
  switch (command.type) {
    case "dispatch": {
      if (!alive || attempt.over || attempt.maySend || attempt.asking) return undefined;
      const other = cast.gateways.find((gateway) => gateway.processId !== ownerId)!;
      const asker = command.foreign ? other.processId : ownerId;
      attempt.asking = !command.foreign;
      const ask = { workspaceId, holdId, ownerId: asker };
      return { type: "dispatch", ask, foreign: command.foreign };
    }
    case "send":
      if (listens && attempt.maySend) attempt.sentAtMs ??= nowMs;
      return undefined;
    case "chunk": {
      if (!running) return undefined;
      attempt.outputTokens = Math.min(attempt.maxTokens, attempt.outputTokens + command.tokens);
      const told = Math.min(command.told, attempt.outputTokens);
      if (listens) attempt.toldTokens = Math.max(attempt.toldTokens, told);
      return undefined;
    }
    case "finish": {
      if (!running) return undefined;
      attempt.outputTokens = Math.min(attempt.maxTokens, attempt.outputTokens + command.tokens);
      attempt.beyondNanoUsd = command.beyond;
      attempt.done = true;
      return learn();
    }
    case "refused": {
      if (!running || attempt.outputTokens > 0) return undefined;
      attempt.free = true;
      attempt.done = true;
      return learn();
    }
    case "cut": {
      if (!listens || !attempt.maySend || attempt.knownNanoUsd !== null) return undefined;
      attempt.over = true;
      return settled(attempt, "provisional");
    }
    case "repeat": {
      if (!alive) return undefined;
      if (attempt.knownNanoUsd !== null) return settled(attempt, "settled");
      return attempt.over && attempt.maySend ? settled(attempt, "provisional") : undefined;
    }
    case "end":
      return settled(attempt, command.outcome);
    case "known_dead":
      return alive ? undefined : { type: "ended", processId: ownerId };
    case "reconcile":
      return reconcile(cast, { command, attempt, nowMs });
    default:
      return undefined;
  }
}

function reconcile(
  cast: Cast,
  event: { command: Extract<Command, { type: "reconcile" }>; attempt: Attempt; nowMs: number },
): Operation | undefined {
  const { command, attempt, nowMs } = event;
  const { workspaceId, holdId, sentAtMs } = attempt;
  const ask = (chargedNanoUsd: number, proof: "request" | number): Operation => ({
    type: "reconcile",
    ask: {
      workspaceId,
      holdId,
      chargedNanoUsd,
      proof: proof === "request" ? { kind: "request" } : { kind: "report", finalBeforeMs: proof },
    },
  });
  // The provider names a request only when it has had it and is done with it.
  if (command.proof === "request") {
    if (sentAtMs === null) return undefined;
    attempt.done = true;
    return ask(truthOf(cast, attempt) + attempt.beyondNanoUsd, "request");
  }
  const finalBeforeMs = nowMs - command.backMs;
  const covered = sentAtMs !== null && sentAtMs < finalBeforeMs && finalBeforeMs <= nowMs;
  if (covered) attempt.done = true;
  return ask(covered ? truthOf(cast, attempt) + attempt.beyondNanoUsd : 0, finalBeforeMs);
}

function touchGateway(cast: Cast, command: Command): Operation | undefined {
  if (!("gateway" in command)) return undefined;
  const gateway = cast.gateways[command.gateway]!;
  const { processId } = gateway;
  switch (command.type) {
    case "crash":
      if (!gateway.alive) return undefined;
      gateway.alive = false;
      return command.known ? { type: "ended", processId } : undefined;
    case "restart": {
      if (gateway.alive) return undefined;
      const starts = gateway.starts + 1;
      const [name = ""] = processId.split(".");
      const priceVersion = [...cast.prices.keys()].at(-1)!;
      Object.assign(gateway, {
        processId: `${name}.${starts}`,
        alive: true,
        starts,
        skewMs: 0,
        priceVersion,
      });
      return { type: "seen", processId: gateway.processId };
    }
    case "seen":
      return gateway.alive ? { type: "seen", processId } : undefined;
    case "skew":
      gateway.skewMs = command.skewMs;
      return undefined;
    case "prices": {
      gateway.priceVersion = `p${cast.prices.size + 1}`;
      cast.prices.set(gateway.priceVersion, { input: command.input, output: command.output });
      return undefined;
    }
    default:
      return undefined;
  }
}

function turnOf(nowMs: number, unit: "day" | "month"): number {
  const now = new Date(nowMs);
  const [year, month, day] = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()];
  return unit === "day" ? Date.UTC(year, month, day + 1) : Date.UTC(year, month + 1, 1);
}

/** What people and workers do. */
function change(cast: Cast, command: Command, state: State): Operation | undefined {
  const { world } = cast;
  const { workspaceId, runId } = world.runs["run" in command ? command.run : 0]!;
  const { epoch } = state.runs.get(runId)!;
  switch (command.type) {
    case "reclaim":
      return { type: "reap" };
    case "tick":
      return { type: "time", nowMs: state.nowMs + command.ms };
    case "rollover": {
      const nowMs = turnOf(state.nowMs, command.unit) + command.offsetMs;
      return nowMs > state.nowMs ? { type: "time", nowMs } : undefined;
    }
    case "run":
      return { type: "run", runId, state: command.state };
    case "lease_time": {
      const { sliceMs } = command;
      const slices = [...state.slices.values()];
      const booked = slices.filter((slice) => slice.runId === runId && slice.epoch === epoch);
      const bookingNo = command.again ? Math.max(1, booked.length) : booked.length + 1;
      return { type: "lease_time", ask: { workspaceId, runId, epoch, bookingNo, sliceMs } };
    }
    case "return_time": {
      const { unusedMs, stale } = command;
      const ask = { workspaceId, runId, epoch: stale ? epoch - 1 : epoch, unusedMs };
      return { type: "return_time", ask };
    }
    case "limit": {
      const { level, meter, amount } = command;
      const { scopeId } = levelsOf(state, runId).find((key) => key.level === level)!;
      return { type: "limit", ask: { workspaceId, meter, level, scopeId, amount } };
    }
    case "top_limit": {
      const { level, meter, amount } = command;
      const scopeId = level === "owner" ? world.ownerId : "platform";
      return { type: "top_limit", ask: { level, scopeId, meter, amount } };
    }
    default:
      return undefined;
  }
}

/** Two gateways that have just started, and a provider that has seen nothing. */
export function createStage(world: World, newHoldId: () => string): Stage {
  const gateway = (n: number): Gateway => ({
    processId: `gw_${n}.1`,
    alive: true,
    starts: 1,
    skewMs: 0,
    priceVersion: "p1",
  });
  const cast: Cast = {
    world,
    attempts: new Map(),
    gateways: [gateway(0), gateway(1)],
    prices: new Map([["p1", { input: 2, output: 3 }]]),
    attemptNos: new Map(),
    newHoldId,
  };
  return {
    attempts: cast.attempts,
    truthOf: (attempt) => truthOf(cast, attempt),
    skewOf: (processId) =>
      cast.gateways.find((gateway) => gateway.processId === processId)?.skewMs ?? 0,
    perform(command, state) {
      if (command.type === "admit") return admit(cast, command, state);
      if ("gateway" in command) return touchGateway(cast, command);
      if (!("pick" in command)) return change(cast, command, state);
      const attempt = pickAttempt(cast, command);
      return attempt && touch(cast, { command, attempt, nowMs: state.nowMs });
    },
    answered(operation, outcome) {
      if (operation.type === "reserve") register(cast, operation, outcome as ReserveOutcome);
      if (operation.type !== "dispatch" || operation.foreign) return;
      const attempt = cast.attempts.get(operation.ask.holdId)!;
      attempt.asking = false;
      attempt.maySend = outcome === true;
      attempt.over = !attempt.maySend;
    },
    lost(operation) {
      if (operation.type !== "dispatch" || operation.foreign) return;
      const attempt = cast.attempts.get(operation.ask.holdId)!;
      attempt.asking = false;
      attempt.over = true;
    },
  };
}

function register(
  cast: Cast,
  { ask }: Extract<Operation, { type: "reserve" }>,
  outcome: ReserveOutcome,
): void {
  if (outcome.status !== "held" || outcome.callNo === null) return;
  const { workspaceId, holdId, runId, ownerId, priceVersion, inputNanoUsd, dispatch } = ask;
  cast.attempts.set(holdId, {
    workspaceId,
    holdId,
    runId,
    callNo: outcome.callNo,
    ownerId,
    priceVersion,
    inputTokens: inputNanoUsd / cast.prices.get(priceVersion)!.input,
    maxTokens: outcome.maxTokens,
    asking: false,
    maySend: dispatch,
    over: false,
    knownNanoUsd: null,
    toldTokens: 0,
    sentAtMs: null,
    outputTokens: 0,
    beyondNanoUsd: 0,
    free: false,
    done: false,
  });
}
