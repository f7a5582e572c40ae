import { alertMessages } from "./en-alerts.ts";
import { limitMessages } from "./en-limits.ts";
import { pageMessages } from "./en-pages.ts";
import { taskMessages } from "./en-tasks.ts";

/** Every text of the page in English. `{name}` is filled in; a message with forms is chosen by its `count`. */
export const en = {
  skip: "Skip to content",
  close: "Close",
  loading: "Loading…",
  menu: "Menu",
  tryAgain: "Try again",
  none: "–",
  breadcrumb: "Where you are",
  signOut: "Sign out {name}",

  "nav.label": "Places",
  "nav.office": "Office",
  "nav.tasks": "Tasks",
  "nav.agents": "Agents",
  "nav.usage": "Usage",
  "nav.limits": "Limits",
  "nav.keys": "Keys",

  "copy.done": "Copied",
  "copy.failed":
    "Not copied: the browser closes the clipboard to this address. Select the text instead.",
  "copy.command": "Copy the command",
  "copy.commandLine": "The same by command line",

  "budget.title": "Model budget:",
  "budget.reserved": "reserved",
  "budget.label": "Model budget: {used} spent, {held} reserved, limit {limit}.",
  "budget.noLimit": "no limit",
  "budget.unknown": "Budget cannot be read",
  "budget.at": "{part} used",
  "budget.stopped": "Stopped: limit reached",

  "sim.badge": "SIM",
  "sim.title": "The model is simulated: answers follow a script, and dollars are not real.",

  "connection.connecting": "Connecting",
  "connection.connecting.title": "Connecting again; what was missed is read as soon as it works.",
  "connection.live": "Live",
  "connection.live.title": "What happens shows at once.",
  "connection.polling": "Polling",
  "connection.polling.title":
    "The live connection cannot be made. The page asks for news every few seconds instead.",
  "connection.offline": "Offline",
  "connection.offline.title":
    "The server cannot be reached. Running tasks go on without this page.",

  "theme.title": "Colours",
  "theme.label": "Colours: {theme}. Change",
  "theme.system": "as the system",
  "theme.dark": "dark",
  "theme.light": "light",

  "keys.title": "Keyboard shortcuts",
  "keys.create": "New task",
  "keys.office": "Office",
  "keys.tasks": "Tasks",
  "keys.agents": "Agents",
  "keys.usage": "Usage",
  "keys.limits": "Limits",
  "keys.move": "Next and previous in a list",
  "keys.open": "Open what is chosen",
  "keys.cancel": "Cancel the task on its page",
  "keys.help": "This list",
  "keys.back": "Close a dialog",
  "keys.enabled": "Single-key shortcuts are on",

  "problem.offline.title": "The server cannot be reached",
  "problem.offline.detail":
    "The request got no answer. Tasks that run on the server go on without this page.",
  "problem.offline.hint": "See that Guildhall is running, and try again.",
  "problem.unknown.title": "The page failed here",
  "problem.unknown.hint": "Reload the page. The server and its tasks are not affected.",
  "problem.request": "Request",
  "problem.copyRequest": "Copy the request id",

  "notFound.text": "Nothing is at this address.",
  "notFound.home": "To the office",

  "signIn.title": "Sign in",
  "signIn.how":
    "Guildhall prints a sign-in link in the terminal when it starts. The link works once and for 10 minutes; start again to get a new one.",
  "signIn.already": "Signed in already in another tab?",
  "signIn.linkUsed":
    "This sign-in link was used before or has ended. Nothing is lost: start Guildhall again to get a new one.",
  "signIn.linkFailed": "The sign-in link did not work ({problem}).",

  ...alertMessages,
  ...limitMessages,
  ...pageMessages,
  ...taskMessages,
} as const;
