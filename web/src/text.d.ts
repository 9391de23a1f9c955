declare module "text:*" {
  const text: string;
  export default text;
}
declare module "@niivue/dcm2niix" {
  export class Dcm2niix {
    worker: Worker | null;
    init(): Promise<boolean>;
    input(files: File[]): Conversion;
  }
  interface Conversion {
    b(value: string): Conversion;
    z(value: string): Conversion;
    f(value: string): Conversion;
    run(): Promise<File[]>;
  }
}
/** Of what a report's policy lets run, as build.mjs computes them. */
declare const HASHES: { style: string; script: string; niivue: string };
/** Of the page, for the service worker: all files, and what changes with any of them. */
declare const FILES: string[];
declare const BUILD: string;
declare const POLICY: string;
