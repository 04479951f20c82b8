package org.apache.beam.sdk.io.kafka;

import java.util.List;
import java.util.Map;
import org.apache.beam.sdk.expansion.ExternalTransformRegistrar;
import org.apache.beam.sdk.io.Read;
import org.apache.beam.sdk.transforms.ExternalTransformBuilder;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.values.PBegin;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.Row;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Topics as blocks of records, for Python by the expansion service: see {@link BlockSource}. */
public final class ReadBlocks extends PTransform<PBegin, PCollection<Row>> {
  private final KafkaIO.Read<byte[], byte[]> read;

  private ReadBlocks(KafkaIO.Read<byte[], byte[]> read) {
    this.read = read;
  }

  @Override
  public PCollection<Row> expand(PBegin begin) {
    return begin.apply(Read.from(new BlockSource(read.makeSource()))).setRowSchema(BlockSource.BLOCK);
  }

  /** What pipeline/sources.py sends. */
  public static final class Configuration {
    private Map<String, Object> consumer;
    private List<String> topics;
    private boolean logAppend;

    /** The consumer's settings. */
    public void setConsumer(Map<String, String> consumer) {
      this.consumer = Map.copyOf(consumer);
    }

    /** Topic names. */
    public void setTopics(List<String> topics) {
      this.topics = topics;
    }

    /** Whether a record's time is the broker's of its append, or else that of its arrival here. */
    public void setLogAppend(Boolean logAppend) {
      this.logAppend = logAppend;
    }
  }

  /** Finds this transform by its name. */
  public static final class Registrar implements ExternalTransformRegistrar {
    @Override
    public Map<String, ExternalTransformBuilder<?, ?, ?>> knownBuilderInstances() {
      return Map.of("margin:read_blocks:v1", new Builder());
    }
  }

  private static final class Builder implements ExternalTransformBuilder<Configuration, PBegin, PCollection<Row>> {
    @Override
    public PTransform<PBegin, PCollection<Row>> buildExternal(Configuration given) {
      KafkaIO.Read<byte[], byte[]> read =
          KafkaIO.<byte[], byte[]>read()
              .withConsumerConfigUpdates(given.consumer)
              .withTopics(given.topics)
              .withKeyDeserializer(ByteArrayDeserializer.class)
              .withValueDeserializer(ByteArrayDeserializer.class);
      return new ReadBlocks(given.logAppend ? read.withLogAppendTime() : read.withProcessingTime());
    }
  }
}
