import react from "@vitejs/plugin-react";
import type { UserConfig } from "vite";

const config: UserConfig = {
  plugins: [react()],
  build: {
    target: "es2023",
    // A data: URL would need an exception in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
};

export default config;
