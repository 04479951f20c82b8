package org.apache.beam.sdk.io.kafka;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.stream.Collectors;
import org.apache.beam.sdk.coders.Coder;
import org.apache.beam.sdk.coders.RowCoder;
import org.apache.beam.sdk.io.UnboundedSource;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.schemas.Schema;
import org.apache.beam.sdk.schemas.Schema.FieldType;
import org.apache.beam.sdk.values.Row;
import org.apache.kafka.common.TopicPartition;
import org.joda.time.Instant;

/**
 * KafkaIO's unbounded source, a block of records in place of each: whatever has arrived, up to a bound, by partition.
 *
 * <p>A record alone costs a dozen times its own work on its way from the source to a Python worker (docs/adr/0009).
 * Offsets, watermarks and checkpoints are KafkaIO's; a checkpoint comes between two blocks. A record without a value, a
 * tombstone or a pulse, moves them and is in no block.
 *
 * <p>In Beam's package because {@link KafkaIO.Read#makeSource} is not public.
 */
final class BlockSource extends UnboundedSource<Row, KafkaCheckpointMark> {
  /**
   * A partition's records as columns: their offsets and stamps, milliseconds, eight bytes each; their values, one after
   * another, and where each ends, four bytes. An array of numbers would cost a call for each, here and in Python.
   */
  static final Schema PART =
      Schema.builder()
          .addStringField("topic")
          .addInt32Field("partition")
          .addByteArrayField("offsets")
          .addByteArrayField("stamps")
          .addByteArrayField("ends")
          .addByteArrayField("values")
          .build();

  static final Schema BLOCK = Schema.builder().addArrayField("parts", FieldType.row(PART)).build();

  /** Most records of a block, most bytes but for its last, and how long it waits for them: in time with the world it
   * ends where no more are there. */
  private static final int RECORDS = 8_000;

  private static final int BYTES = 8 << 20;

  private static final long NANOSECONDS = 20_000_000;

  private final UnboundedSource<KafkaRecord<byte[], byte[]>, KafkaCheckpointMark> records;

  BlockSource(UnboundedSource<KafkaRecord<byte[], byte[]>, KafkaCheckpointMark> records) {
    this.records = records;
  }

  @Override
  public List<BlockSource> split(int desired, PipelineOptions options) throws Exception {
    return records.split(desired, options).stream().map(BlockSource::of).collect(Collectors.toList());
  }

  @SuppressWarnings("unchecked")
  private static BlockSource of(UnboundedSource<KafkaRecord<byte[], byte[]>, ?> records) {
    return new BlockSource((UnboundedSource<KafkaRecord<byte[], byte[]>, KafkaCheckpointMark>) records);
  }

  @Override
  public UnboundedReader<Row> createReader(PipelineOptions options, KafkaCheckpointMark mark) throws IOException {
    return new Reader(this, records.createReader(options, mark));
  }

  @Override
  public Coder<KafkaCheckpointMark> getCheckpointMarkCoder() {
    return records.getCheckpointMarkCoder();
  }

  @Override
  public Coder<Row> getOutputCoder() {
    return RowCoder.of(BLOCK);
  }

  private static final class Part {
    final Column offsets = new Column();
    final Column stamps = new Column();
    final Column ends = new Column();
    final Column values = new Column();

    void add(long offset, long stamp, byte[] value) throws IOException {
      offsets.out.writeLong(offset);
      stamps.out.writeLong(stamp);
      values.out.write(value);
      ends.out.writeInt(values.out.size());
    }

    Row row(TopicPartition at) {
      return Row.withSchema(PART)
          .attachValues(at.topic(), at.partition(), offsets.get(), stamps.get(), ends.get(), values.get());
    }
  }

  private static final class Column {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    final DataOutputStream out = new DataOutputStream(bytes);

    byte[] get() {
      return bytes.toByteArray();
    }
  }

  private static final class Reader extends UnboundedReader<Row> {
    private final BlockSource source;
    private final UnboundedReader<KafkaRecord<byte[], byte[]>> records;
    private Row block;
    private Instant earliest;

    Reader(BlockSource source, UnboundedReader<KafkaRecord<byte[], byte[]>> records) {
      this.source = source;
      this.records = records;
    }

    @Override
    public boolean start() throws IOException {
      return fill(records.start());
    }

    @Override
    public boolean advance() throws IOException {
      return fill(records.advance());
    }

    private boolean fill(boolean found) throws IOException {
      Map<TopicPartition, Part> parts = new LinkedHashMap<>();
      earliest = null;
      long until = System.nanoTime() + NANOSECONDS;
      int bytes = 0;
      for (int count = 1; found; count++) {
        KafkaRecord<byte[], byte[]> record = records.getCurrent();
        byte[] value = record.getKV().getValue();
        if (value != null) {
          Instant stamp = records.getCurrentTimestamp();
          TopicPartition at = new TopicPartition(record.getTopic(), record.getPartition());
          parts.computeIfAbsent(at, __ -> new Part()).add(record.getOffset(), stamp.getMillis(), value);
          bytes += value.length;
          earliest = earliest == null || stamp.isBefore(earliest) ? stamp : earliest;
        }
        found = count < RECORDS && bytes < BYTES && System.nanoTime() < until && records.advance();
      }
      List<Row> rows = new ArrayList<>();
      parts.forEach((at, part) -> rows.add(part.row(at)));
      block = rows.isEmpty() ? null : Row.withSchema(BLOCK).attachValues(rows);
      return block != null;
    }

    @Override
    public Row getCurrent() {
      if (block == null) {
        throw new NoSuchElementException();
      }
      return block;
    }

    @Override
    public Instant getCurrentTimestamp() {
      if (earliest == null) {
        throw new NoSuchElementException();
      }
      return earliest;
    }

    /** As far as KafkaIO has come: what is before it has been given out, for it is asked between two blocks. */
    @Override
    public Instant getWatermark() {
      return records.getWatermark();
    }

    @Override
    public CheckpointMark getCheckpointMark() {
      return records.getCheckpointMark();
    }

    @Override
    public UnboundedSource<Row, ?> getCurrentSource() {
      return source;
    }

    @Override
    public long getSplitBacklogBytes() {
      return records.getSplitBacklogBytes();
    }

    @Override
    public void close() throws IOException {
      records.close();
    }
  }
}
