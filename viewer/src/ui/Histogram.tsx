// How strong a feature is where it is active, with the value in this prompt marked.
import { joined, percent, significant } from "../words";
import type { HistogramRecord } from "../wire";

const WIDTH = 300;
const HEIGHT = 54;

export function Histogram({ histogram, here }: { histogram: HistogramRecord; here: number | null }) {
  const { edges, counts } = histogram;
  if (!counts.length) return null;
  const most = Math.max(...counts);
  const all = counts.reduce((sum, count) => sum + count, 0);
  const each = WIDTH / counts.length;
  const value = here ?? 0;
  const bin = edges.findLastIndex((edge) => edge <= value);
  const at = bin < 0 ? 0 : Math.min(bin, counts.length - 1);
  const [low, high] = [edges[at] ?? 0, edges[at + 1] ?? 1];
  const inside = value > 0 && high > low ? Math.min(Math.max(Math.log(value / low) / Math.log(high / low), 0), 1) : 0;
  const x = (at + inside) * each;
  const weaker = counts.slice(0, at).reduce((sum, count) => sum + count, 0) / (all || 1);
  const marked = here === null ? "" : `; here ${significant(here)}, stronger than ${percent(weaker)}`;
  const words = `Activations from ${significant(edges[0] ?? 0)} to ${significant(edges.at(-1) ?? 0)}${marked} of ${joined(all, "activation")}`;
  return (
    <figure class="histogram">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT + 4}`} role="img" aria-label={words} preserveAspectRatio="none">
        {counts.map((count, i) => {
          const height = count ? Math.max((HEIGHT * Math.log1p(count)) / Math.log1p(most), 1) : 0;
          return <rect key={i} class="bin" x={i * each + 0.3} y={HEIGHT - height} width={Math.max(each - 0.6, 0.4)} height={height} />;
        })}
        {here !== null && <line class="here" x1={x} x2={x} y1={0} y2={HEIGHT + 4} />}
      </svg>
      <figcaption>
        <span>{significant(edges[0] ?? 0)}</span>
        {here !== null && (
          <span class="now">
            here {significant(here)}: stronger than {percent(weaker)}
          </span>
        )}
        <span>{significant(edges.at(-1) ?? 0)}</span>
      </figcaption>
    </figure>
  );
}
