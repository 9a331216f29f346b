// Columns of numbers in the binary data.
import type { ColumnRecord } from "../wire";

export type Numbers = Float32Array | Float64Array | Int32Array | Int16Array | Uint8Array;

const FORMS = { u8: Uint8Array, i16: Int16Array, i32: Int32Array, f32: Float32Array, f64: Float64Array } as const;

export class Columns {
  readonly #places: ReadonlyMap<string, ColumnRecord>;

  constructor(
    places: readonly ColumnRecord[],
    readonly data: ArrayBuffer,
  ) {
    this.#places = new Map(places.map((place) => [place.name, place]));
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  /** A column; its rows one after the other where it has two axes. */
  get(name: string): Numbers {
    const place = this.#places.get(name);
    if (!place) throw new Error(`The file has no column ${name}.`);
    const count = place.shape.reduce((product, size) => product * size, 1);
    return new FORMS[place.dtype](this.data, place.offset, count);
  }

  width(name: string): number {
    return this.#places.get(name)?.shape[1] ?? 1;
  }
}

const known = new WeakMap<Numbers, number>();

/** The greatest of a column, but at least 0; found once. */
export function greatest(values: Numbers): number {
  let found = known.get(values);
  if (found === undefined) {
    found = 0;
    for (let i = 0; i < values.length; i++) found = Math.max(found, values[i]!);
    known.set(values, found);
  }
  return found;
}
