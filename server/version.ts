/** The release, as `guildhall --version` and the OpenAPI document tell it. */
export const VERSION = "0.1.0";
