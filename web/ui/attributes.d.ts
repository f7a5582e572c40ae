import "react";

declare module "react" {
  interface InputHTMLAttributes<T> extends HTMLAttributes<T> {
    /** Makes a file input pick a whole folder; every browser has it under this name. */
    webkitdirectory?: string;
  }
}
