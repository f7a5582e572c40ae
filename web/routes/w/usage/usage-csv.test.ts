import { describe, expect, it } from "vitest";
import { usageCsv } from "./usage-csv.ts";

const usage = {
  meters: [],
  simulated: true,
  by_day: [{ day: "2026-11-23", tasks: 2, spent_nano_usd: 1_234_567_891 }],
  by_agent: [{ agent_id: "gray", tasks: 2, spent_nano_usd: 1 }],
  by_key: [],
  by_model: [],
  counted: [],
};

describe("usageCsv", () => {
  it("carries money to the last digit", () => {
    const [, day, agent] = usageCsv(usage).split("\r\n");
    expect(day).toBe("day,2026-11-23,2,,,,,,1.234567891");
    expect(agent).toBe("agent,gray,2,,,,,,0.000000001");
  });

  it.each(["=1+1", "+1", "-1", "@x", "\tx"])("leaves %j no formula for a spreadsheet", (id) => {
    const csv = usageCsv({ ...usage, by_agent: [{ agent_id: id, tasks: 0, spent_nano_usd: 0 }] });
    expect(csv).toContain(`agent,"'${id}",`);
  });

  it("keeps a name with quotes, commas and line ends one field", () => {
    const id = 'a"b,c\nd';
    const csv = usageCsv({ ...usage, by_agent: [{ agent_id: id, tasks: 0, spent_nano_usd: 0 }] });
    expect(csv).toContain('agent,"a""b,c\nd",0');
  });
});
