/** SHA-256 of each view, in their order; never on the event loop. */
export declare function sha256Each(views: readonly Uint8Array[]): Uint8Array[];
/** Whether two views of such lengths are better hashed together. */
export declare function isPairOf(oneLength: number, otherLength: number): boolean;
