import type { FaultPlan } from "@guildhall/simulator/delivery/faults.ts";
import type { Links, openInstallationOfRoles } from "../../server/test/role-processes.ts";
import type { TestRedis } from "../../server/test/redis.ts";
import type { Role } from "../../server/roles.ts";
import type { Random } from "./random.ts";
import type { Slot } from "./slots.ts";

export type Scene = {
  installation: Awaited<ReturnType<typeof openInstallationOfRoles>>;
  /** The bell, where there is one; otherwise it is that of Postgres. */
  redis: TestRedis | undefined;
  slots: readonly Slot[];
  random: Random;
};

/** Something that goes wrong. `begin` answers how it ends; the figures in its name are what the seed chose. */
export type Trouble = { name: string; begin(): Promise<() => Promise<void>> };

type Kind = (scene: Scene) => Trouble;

const over = (): Promise<void> => Promise.resolve();

function slotOf({ slots, random }: Scene, ...roles: readonly Role[]): { slot: Slot; name: string } {
  const those = slots.filter((slot) => roles.includes(slot.role));
  const [first, ...rest] = those;
  if (first === undefined) throw new Error(`there is no ${roles.join(", ")}`);
  const slot = random.pick([first, ...rest]);
  return { slot, name: `${slot.role} ${slots.indexOf(slot)}` };
}

const signal =
  (name: "SIGKILL" | "SIGTERM"): Kind =>
  (scene) => {
    const chosen = slotOf(scene, "worker", "gateway", "api", "scheduler");
    return {
      name: `${name} ${chosen.name}`,
      begin() {
        chosen.slot.process().process.kill(name);
        return Promise.resolve(over);
      },
    };
  };

const freeze: Kind = (scene) => {
  const { slot, name } = slotOf(scene, "worker", "gateway", "scheduler");
  return {
    name: `freeze ${name}`,
    begin() {
      const frozen = slot.process();
      frozen.freeze();
      return Promise.resolve(() => Promise.resolve(frozen.thaw()));
    },
  };
};

const POINTS: Readonly<Record<"worker" | "gateway" | "api", readonly [string, ...string[]]>> = {
  worker: [
    "run.claimed",
    "run.outcome",
    "tool.started",
    "tool.executed",
    "model.text",
    "model.answered",
    "step.stored",
  ],
  gateway: ["gateway.held", "gateway.answered", "gateway.settled"],
  api: ["task.made", "answer.stored", "task.committed"],
};

const dieAt: Kind = (scene) => {
  const role = scene.random.pick<keyof typeof POINTS>(["worker", "gateway", "api"]);
  const { slot, name } = slotOf(scene, role);
  const point = `${scene.random.pick(POINTS[role])}:${scene.random.between(1, 4)}`;
  return {
    name: `${name} dies at ${point}`,
    begin() {
      slot.nextEnv({ FAULT_AT: point });
      slot.process().process.kill("SIGKILL");
      return Promise.resolve(over);
    },
  };
};

const bell: Kind = (scene) => {
  const { redis, random } = scene;
  if (redis === undefined) return network(scene);
  if (random.between(0, 1) === 0)
    return {
      name: "Redis is emptied",
      begin() {
        // It may have been killed just now: then it is emptied when it is back.
        redis.client.flushall().catch(() => undefined);
        return Promise.resolve(over);
      },
    };
  return {
    name: "Redis is killed",
    async begin() {
      await redis.kill();
      return () => redis.start();
    },
  };
};

type LinkFault = "drop" | "refuse" | "reset" | "delay" | "throttle" | "halfClose";

const network: Kind = (scene) => {
  const { slot, name } = slotOf(scene, "worker", "gateway", "api", "scheduler");
  const ends: Readonly<Record<Role, readonly [keyof Links, ...(keyof Links)[]]>> = {
    worker: ["database", "gateway", "redis"],
    gateway: ["database", "provider"],
    api: ["database", "redis"],
    scheduler: ["database", "redis"],
  };
  const end = scene.random.pick(ends[slot.role]);
  const fault = scene.random.pick<LinkFault>([
    "drop",
    "refuse",
    "reset",
    "delay",
    "throttle",
    "halfClose",
  ]);
  return {
    name: `${fault} between ${name} and ${end}`,
    begin() {
      const link = slot.process().links[end];
      if (fault === "delay") link?.delay(200);
      else if (fault === "throttle") link?.throttle(20_000);
      else link?.[fault]();
      return Promise.resolve(() => Promise.resolve(link?.heal()));
    },
  };
};

const database: Kind = ({ installation }) => ({
  name: "the database is killed",
  begin() {
    installation.database.kill();
    return Promise.resolve(() => installation.database.start());
  },
});

const provider: Kind = ({ installation, random }) => {
  const times = random.between(1, 3);
  const faults: readonly [FaultPlan[number], ...FaultPlan[number][]] = [
    { kind: "status", status: 529, times },
    { kind: "status", status: 500, times },
    { kind: "hang_up", times },
    { kind: "cut", after_bytes: random.between(0, 1_500), times },
    { kind: "half_close", after_bytes: random.between(0, 1_500), times },
    { kind: "stall", before_event: random.between(0, 6), ms: random.between(500, 4_000), times },
    { kind: "usage", form: "missing", times },
    { kind: "error_event", at: random.between(0, 6), times },
  ];
  const fault = random.pick(faults);
  return {
    name: `provider ${JSON.stringify(fault)}`,
    async begin() {
      await installation.setFaults([fault]);
      return () => installation.setFaults([]);
    },
  };
};

/** What may go wrong; what stands more often happens more often. */
const KINDS: readonly [Kind, ...Kind[]] = [
  signal("SIGKILL"),
  signal("SIGKILL"),
  signal("SIGTERM"),
  freeze,
  dieAt,
  dieAt,
  network,
  network,
  network,
  database,
  bell,
  provider,
  provider,
];

export const chooseTrouble = (scene: Scene): Trouble => scene.random.pick(KINDS)(scene);
