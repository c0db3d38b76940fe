/** Names that are unique at a door although Images may share them: who creates one is alone with it, over all controls. */
export interface NameLocks {
  /**
   * Runs `act` while nobody else runs one under this name. Callers of one process wait for each other; while
   * another control is at it, it throws `already-exists` at once. A lock ends with the process that has it.
   */
  alone<T>(name: string, act: () => Promise<T>): Promise<T>;
}
