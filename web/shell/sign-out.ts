import { session } from "../api/api.ts";

/** Ends the session. A fresh load of the page also drops everything that was read in it. */
export async function signOut(): Promise<void> {
  try {
    await session.signOut();
  } finally {
    location.assign("/sign-in");
  }
}
