/** Lets others wait until something holds; `look` is called whenever it may. */
export function createWaitingRoom(holds: () => boolean) {
  let again = Promise.withResolvers<void>();
  return {
    look() {
      again.resolve();
      again = Promise.withResolvers();
    },
    async until(): Promise<void> {
      while (!holds()) await again.promise;
    },
  };
}
