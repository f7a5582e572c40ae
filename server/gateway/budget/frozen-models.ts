import type { Db } from "../../platform/db.ts";

/** A model that is stopped with these features, and the call that showed why. */
export type FrozenModel = {
  /** `<model> + <feature> + ...` */
  combination: string;
  frozenAt: Date;
  holdId: string;
  overrunNanoUsd: number;
};

/** What is stopped, for all gateways of the installation and past restarts. */
export type FrozenModels = {
  freeze(frozen: Omit<FrozenModel, "frozenAt">): Promise<void>;
  list(): Promise<FrozenModel[]>;
};

type Row = { combination: string; frozen_at: Date; hold_id: string; overrun_nano_usd: number };

const LIST = {
  name: "list_frozen_models",
  text: "SELECT combination, frozen_at, hold_id, overrun_nano_usd FROM list_frozen_models()",
  values: [],
};

function modelOf(row: Row): FrozenModel {
  return {
    combination: row.combination,
    frozenAt: row.frozen_at,
    holdId: row.hold_id,
    overrunNanoUsd: row.overrun_nano_usd,
  };
}

export function createFrozenModels(db: Db): FrozenModels {
  return {
    async freeze({ combination, holdId, overrunNanoUsd }) {
      await db.ledger({
        text: "SELECT freeze_model($1, $2, $3)",
        values: [combination, holdId, overrunNanoUsd],
      });
    },
    async list() {
      return (await db.ledger<Row>(LIST)).map(modelOf);
    },
  };
}

/** For a gateway by itself: forgotten when it ends. */
export function rememberFrozenModels(): FrozenModels {
  const models = new Map<string, FrozenModel>();
  return {
    async freeze(model) {
      models.set(model.combination, { ...model, frozenAt: new Date() });
    },
    list: async () => [...models.values()],
  };
}

/** Lets calls of this kind pass again, in all gateways within seconds. -> false: it was not stopped */
export async function liftFrozenModel(
  db: Db,
  lift: { combination: string; who: string },
): Promise<boolean> {
  const [row] = await db.withPlatform((tx) =>
    tx.query<{ lifted: boolean }>({
      text: "SELECT lift_frozen_model($1, $2) AS lifted",
      values: [lift.combination, lift.who],
    }),
  );
  return row?.lifted ?? false;
}
