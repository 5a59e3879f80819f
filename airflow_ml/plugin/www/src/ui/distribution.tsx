/** A column's values in the space of a cell: a histogram, or the most frequent ones. */

import { Box, Text } from "@chakra-ui/react";

import type { ColumnProfile } from "../api/types";
import { count, number, percent } from "../format/number";
import { dataTime } from "../format/text";
import { INK, PALETTE } from "../plots/frame";

const WIDTH = 160;
const HEIGHT = 30;

export function Distribution({ column, rows }: { column: ColumnProfile; rows: number }) {
  const { histogram, frequent } = column;
  if (histogram) {
    const most = Math.max(...histogram.counts, 1);
    const bin = WIDTH / Math.max(1, histogram.counts.length);
    const step = (histogram.high - histogram.low) / Math.max(1, histogram.counts.length);
    return (
      <Box css={PALETTE}>
      <svg width={WIDTH} height={HEIGHT} role="img" aria-label={`Histogram of ${column.name}: ${histogram.counts.join(", ")}`}>
        <line x1={0} x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} stroke={INK.rule} />
        {histogram.counts.map((value, at) => (
          <rect
            key={at} x={at * bin} width={Math.max(1, bin - 1)} height={((HEIGHT - 2) * value) / most}
            y={HEIGHT - 1 - ((HEIGHT - 2) * value) / most} fill={INK.line} fillOpacity={0.7}
          >
            <title>{`${number(histogram.low + at * step)} to ${number(histogram.low + (at + 1) * step)}: ${count(value)}`}</title>
          </rect>
        ))}
      </svg>
      </Box>
    );
  }
  if (!frequent?.length) {
    return <>–</>;
  }
  return (
    <Text fontSize="xs" lineClamp={2} title={frequent.map((one) => `${one.value}: ${count(one.rows)}`).join("\n")}>
      {frequent.slice(0, 5).map((one) => `${dataTime(one.value)} ${percent(one.rows / Math.max(rows, 1))}`).join(", ")}
    </Text>
  );
}
