/**
 * Does a job that takes at most so many things per statement again and again, until it takes fewer or has run `times`
 * times: what is left then is for its next turn. -> how many it took in all
 */
export async function untilFewer(
  bounds: { atMost: number; times: number },
  job: () => Promise<number>,
): Promise<number> {
  let all = 0;
  for (let n = 0; n < bounds.times; n++) {
    const taken = await job();
    all += taken;
    if (taken < bounds.atMost) break;
  }
  return all;
}
