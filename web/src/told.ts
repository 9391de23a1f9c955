/** What a user did or gave that cannot be worked with, and what to do about it, in a sentence. */
export class Told extends Error {}
