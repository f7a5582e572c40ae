import { ENDED, type Rule } from "./rules.ts";

const TERMINAL_EVENTS = `('task.succeeded', 'task.failed', 'task.cancelled')`;
const counted = (table: string): string => `SELECT count(*) AS checked FROM ${table}`;

/** I1: nothing lost. */
const lost: readonly Rule[] = [
  {
    law: "I1",
    name: "a task that has not ended has exactly one open run",
    counts: counted("tasks WHERE ended_at IS NULL"),
    finds: `SELECT t.workspace_id, t.id AS task_id, t.state, count(r.id) AS open_runs FROM tasks t
      LEFT JOIN runs r ON r.workspace_id = t.workspace_id AND r.task_id = t.id AND r.state <> 'ended'
      WHERE t.ended_at IS NULL GROUP BY t.workspace_id, t.id, t.state HAVING count(r.id) <> 1`,
  },
  {
    law: "I1",
    name: "an ended task has no open run",
    counts: counted("tasks WHERE ended_at IS NOT NULL"),
    finds: `SELECT t.workspace_id, t.id AS task_id, t.state, r.id AS run_id, r.state AS run_state FROM tasks t
      JOIN runs r ON r.workspace_id = t.workspace_id AND r.task_id = t.id AND r.state <> 'ended' WHERE t.ended_at IS NOT NULL`,
  },
  {
    law: "I1",
    name: "task and run agree on who is working",
    counts: counted("runs WHERE state <> 'ended'"),
    // A woken run waits for its claim while its task still says what it waited for. One that is parked until a moment
    // has a delayed start or rests after a failed attempt.
    finds: `SELECT t.workspace_id, t.id AS task_id, t.state, r.id AS run_id, r.state AS run_state FROM tasks t
      JOIN runs r ON r.workspace_id = t.workspace_id AND r.task_id = t.id AND r.state <> 'ended'
      WHERE t.ended_at IS NULL AND NOT CASE t.state WHEN 'queued' THEN r.state IN ('queued', 'admitted') OR r.state = 'parked' AND r.wake_at IS NOT NULL
        WHEN 'running' THEN r.state IN ('claimed', 'admitted') OR r.failed_attempts > 0 AND (r.state = 'queued' OR r.state = 'parked' AND r.wake_at IS NOT NULL) ELSE r.state IN ('parked', 'queued', 'admitted') END`,
  },
  {
    law: "I1",
    name: "a run has its task, an attempt its run, and an event its stream",
    counts: counted("runs"),
    finds: `SELECT r.workspace_id, r.id AS run_id, NULL AS stream_id FROM runs r WHERE NOT EXISTS (SELECT FROM tasks t WHERE t.workspace_id = r.workspace_id AND t.id = r.task_id)
      UNION ALL SELECT a.workspace_id, a.run_id, NULL FROM attempts a WHERE NOT EXISTS (SELECT FROM runs r WHERE r.workspace_id = a.workspace_id AND r.id = a.run_id)
      UNION ALL SELECT e.workspace_id, NULL, e.stream_id FROM events e WHERE NOT EXISTS (SELECT FROM streams s WHERE s.workspace_id = e.workspace_id AND s.id = e.stream_id)`,
  },
  {
    law: "I1",
    name: "a claimed run has an open attempt of its epoch",
    counts: counted("runs WHERE state = 'claimed'"),
    finds: `SELECT r.workspace_id, r.id AS run_id, r.epoch FROM runs r
      LEFT JOIN attempts a ON a.workspace_id = r.workspace_id AND a.run_id = r.id AND a.epoch = r.epoch
      WHERE r.state = 'claimed' AND (a.run_id IS NULL OR a.ended_at IS NOT NULL)`,
  },
  {
    law: "I1",
    name: "a run queues only while no slot is free, or for a worker, or somebody is yet to look",
    counts: counted("runs WHERE state = 'queued'"),
    finds: `SELECT q.workspace_id, q.queued, q.slots, q.taken FROM (
        SELECT r.workspace_id, count(*) FILTER (WHERE r.state = 'queued') AS queued, count(r.slot_no) AS taken,
          least(coalesce((SELECT l.amount FROM limits l WHERE l.workspace_id = r.workspace_id AND l.meter = 'concurrent_tasks' AND l.level = 'workspace'
            ORDER BY l.version DESC LIMIT 1), 256), 256) AS slots
        FROM runs r WHERE r.state = 'queued' OR r.slot_no IS NOT NULL GROUP BY r.workspace_id) q
      WHERE q.queued > 0 AND q.taken < q.slots AND NOT EXISTS (SELECT FROM slot_changes c WHERE c.workspace_id = q.workspace_id)
        AND NOT EXISTS (SELECT FROM run_queues u WHERE u.workspace_id = q.workspace_id AND u.ready)`,
  },
  {
    law: "I1",
    name: "a run that can be claimed is in the queue of its workspace",
    counts: counted("runs WHERE state = 'admitted'"),
    finds: `SELECT r.workspace_id, r.id AS run_id, r.slot_no FROM runs r LEFT JOIN run_queues q ON q.workspace_id = r.workspace_id AND q.ready
      WHERE r.state = 'admitted' AND q.workspace_id IS NULL`,
  },
  {
    law: "I1",
    name: "a parked run has something that still can wake it",
    counts: counted("runs WHERE state = 'parked'"),
    finds: `SELECT t.workspace_id, t.id AS task_id, r.id AS run_id, t.parked FROM runs r
      JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id
      WHERE r.state = 'parked' AND NOT coalesce(CASE t.parked->>'kind'
        WHEN 'question' THEN EXISTS (SELECT FROM questions q WHERE q.workspace_id = t.workspace_id AND q.id = t.parked->>'question_id' AND q.answered_at IS NULL)
        WHEN 'child' THEN EXISTS (SELECT FROM tasks c WHERE c.workspace_id = t.workspace_id AND c.id = t.parked->>'child_task_id' AND c.ended_at IS NULL)
        WHEN 'limit' THEN t.parked->>'meter' IN ('model_cost', 'agent_time', 'model_calls', 'tool_calls') AND (t.parked->>'needed')::bigint > 0
        WHEN 'unpriced' THEN t.parked->>'model' <> ''
        WHEN 'suspended' THEN true
        ELSE r.wake_at IS NOT NULL END, false)`,
  },
];

/** I2: nothing twice, as far as runs are concerned. */
const twice: readonly Rule[] = [
  {
    law: "I2",
    name: "an ended task has one terminal event, the last of its closed stream; others have none",
    counts: counted("tasks"),
    finds: `SELECT t.workspace_id, t.id AS task_id, t.state, count(e.seq) AS terminal_events, max(e.seq) AS seq, s.last_seq, s.closed FROM tasks t
      LEFT JOIN streams s ON s.workspace_id = t.workspace_id AND s.id = t.id
      LEFT JOIN events e ON e.workspace_id = t.workspace_id AND e.stream_id = t.id AND e.type IN ${TERMINAL_EVENTS}
      GROUP BY t.workspace_id, t.id, t.state, s.last_seq, s.closed
      HAVING NOT coalesce(CASE WHEN t.state IN ${ENDED} THEN count(e.seq) = 1 AND min(e.type) = 'task.' || t.state AND max(e.seq) = s.last_seq AND s.closed
        ELSE count(e.seq) = 0 AND NOT s.closed END, false)`,
  },
  {
    law: "I2",
    name: "steps of a run are numbered from 1 without a gap",
    counts: counted("steps"),
    finds: `SELECT workspace_id, run_id, count(*) AS steps, min(step_no) AS first_step, max(step_no) AS last_step FROM steps
      GROUP BY workspace_id, run_id HAVING min(step_no) <> 1 OR max(step_no) <> count(*)`,
  },
  {
    law: "I2",
    name: "a tool call is one step of its run",
    counts: counted("steps WHERE kind = 'tool'"),
    finds: `SELECT workspace_id, run_id, body->>'tool_use_id' AS tool_use_id, array_agg(step_no ORDER BY step_no) AS steps FROM steps
      WHERE kind = 'tool' AND body ? 'tool_use_id' GROUP BY workspace_id, run_id, body->>'tool_use_id' HAVING count(*) > 1`,
  },
  {
    law: "I2",
    name: "a run has at most one open attempt, and only while it is claimed",
    counts: counted("attempts"),
    finds: `SELECT a.workspace_id, a.run_id, a.epoch FROM attempts a
      JOIN runs r ON r.workspace_id = a.workspace_id AND r.id = a.run_id
      WHERE a.ended_at IS NULL AND NOT (r.state = 'claimed' AND r.epoch = a.epoch)`,
  },
];

/** What an attempt writes, each with the moment of the write. A step that is only started may be taken over, start and all. */
const WRITES = `(
  SELECT workspace_id, run_id, epoch, 'hold' AS what, id AS ref, held_at AS written_at FROM holds WHERE run_id IS NOT NULL
  UNION ALL SELECT workspace_id, run_id, epoch, 'agent time', slice_no::text, granted_at FROM time_slices
  UNION ALL SELECT workspace_id, run_id, epoch, 'step', step_no::text, ended_at FROM steps WHERE ended_at IS NOT NULL
  UNION ALL SELECT workspace_id, run_id, epoch, 'snapshot', step_no::text, taken_at FROM run_snapshots
)`;

/** I6: the fence. */
const fence: readonly Rule[] = [
  {
    law: "I6",
    name: "every hold, slice, step and snapshot was written by an attempt of its run",
    counts: counted(`${WRITES} w`),
    finds: `SELECT w.workspace_id, w.run_id, w.what, w.ref, w.epoch, r.epoch AS newest_epoch FROM ${WRITES} w
      JOIN runs r ON r.workspace_id = w.workspace_id AND r.id = w.run_id
      LEFT JOIN attempts a ON a.workspace_id = w.workspace_id AND a.run_id = w.run_id AND a.epoch = w.epoch
      WHERE a.run_id IS NULL OR w.epoch > r.epoch`,
  },
  {
    law: "I6",
    name: "no attempt wrote before it began, or after a later one had",
    counts: counted(`${WRITES} w`),
    finds: `SELECT w.workspace_id, w.run_id, w.what, w.ref, w.epoch, w.written_at, later.epoch AS later_epoch FROM ${WRITES} w
      JOIN attempts own ON own.workspace_id = w.workspace_id AND own.run_id = w.run_id AND own.epoch = w.epoch
      LEFT JOIN LATERAL (SELECT min(a.epoch) AS epoch, min(a.started_at) AS started_at FROM attempts a
        WHERE a.workspace_id = w.workspace_id AND a.run_id = w.run_id AND a.epoch > w.epoch) later ON true
      WHERE w.written_at < own.started_at OR w.written_at >= later.started_at`,
  },
  {
    law: "I6",
    // The end is stamped before it waits for writes under way; those cannot take longer than a statement may (5 s).
    name: "no attempt wrote after its end",
    counts: counted("attempts WHERE ended_at IS NOT NULL"),
    finds: `SELECT w.workspace_id, w.run_id, w.what, w.ref, w.epoch, w.written_at, a.ended_at FROM ${WRITES} w
      JOIN attempts a ON a.workspace_id = w.workspace_id AND a.run_id = w.run_id AND a.epoch = w.epoch
      WHERE w.written_at > a.ended_at + interval '10 seconds'`,
  },
  {
    law: "I6",
    name: "epochs never fall from step to step",
    counts: counted("steps"),
    finds: `SELECT workspace_id, run_id, step_no, epoch, before AS epoch_before FROM (
        SELECT workspace_id, run_id, step_no, epoch, lag(epoch) OVER (PARTITION BY workspace_id, run_id ORDER BY step_no) AS before FROM steps) s
      WHERE epoch < before`,
  },
  {
    law: "I6",
    name: "each claim that is told of is an attempt, in rising order",
    counts: counted("events WHERE type = 'run.claimed'"),
    finds: `SELECT e.workspace_id, e.stream_id AS task_id, e.seq, e.run_id, e.attempt, e.before AS attempt_before FROM (
        SELECT x.workspace_id, x.stream_id, x.seq, x.data->>'run_id' AS run_id, (x.data->>'attempt')::int AS attempt,
          lag((x.data->>'attempt')::int) OVER (PARTITION BY x.workspace_id, x.stream_id, x.data->>'run_id' ORDER BY x.seq) AS before
        FROM events x WHERE x.type = 'run.claimed') e
      LEFT JOIN attempts a ON a.workspace_id = e.workspace_id AND a.run_id = e.run_id AND a.epoch = e.attempt
      WHERE a.run_id IS NULL OR e.attempt <= e.before`,
  },
];

/** I8: order. */
const order: readonly Rule[] = [
  {
    law: "I8",
    name: "the events of a stream are numbered from 1 to its last without a gap",
    counts: counted("streams"),
    finds: `SELECT s.workspace_id, s.id AS stream_id, s.last_seq, count(e.seq) AS events, min(e.seq) AS first_seq, max(e.seq) AS newest_seq FROM streams s
      LEFT JOIN events e ON e.workspace_id = s.workspace_id AND e.stream_id = s.id
      GROUP BY s.workspace_id, s.id, s.last_seq
      HAVING count(e.seq) <> s.last_seq OR coalesce(max(e.seq), 0) <> s.last_seq OR coalesce(min(e.seq), 1) <> 1`,
  },
  {
    law: "I8",
    name: "every task has its stream",
    counts: counted("tasks"),
    finds: `SELECT t.workspace_id, t.id AS task_id FROM tasks t
      WHERE NOT EXISTS (SELECT FROM streams s WHERE s.workspace_id = t.workspace_id AND s.id = t.id)`,
  },
];

/** Rules about tasks, runs, attempts, steps and events. */
export const runRules: readonly Rule[] = [...lost, ...twice, ...fence, ...order];
