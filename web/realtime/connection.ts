import { create } from "zustand";

/**
 * How the page hears of what happens. `live`: by socket. `polling`: sockets fail, HTTP works. `offline`: neither.
 */
export type ConnectionState = "connecting" | "live" | "polling" | "offline";

export const useConnection = create<{ state: ConnectionState }>(() => ({
  state: "connecting",
}));

export function setConnection(state: ConnectionState): void {
  if (useConnection.getState().state !== state) useConnection.setState({ state });
}
