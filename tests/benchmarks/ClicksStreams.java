import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.Stores;

/**
 * The pipelines over the clicks, as Kafka Streams: one thread, defaults otherwise.
 *
 * A line of standard input is a run: PIPELINE NAME BROKER CLICKS USERS RESULTS EXPECTED COMMIT_MS. A
 * line of standard output is its answer: the seconds from having its partitions to having closed,
 * that is, flushed and committed, and the seconds of CPU meanwhile. The JVM stays for the next run,
 * so that only the first is a warm-up.
 */
public final class ClicksStreams {
    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Click {
        public String user;
        public String url;
        public long ts;
    }

    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class User {
        public String country;
    }

    public record Visit(String url, String country) {}

    public record Count(long start, long end, long value) {}

    static final OperatingSystemMXBean SYSTEM =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    static final ObjectMapper MAPPER = new ObjectMapper();
    static final Duration MINUTE = Duration.ofMinutes(1);
    /** Repartitioned records of several partitions mix; none may be late, as in the others. */
    static final Duration GRACE = Duration.ofHours(1);

    static <T> Serde<T> json(Class<T> type) {
        ObjectReader reader = MAPPER.readerFor(type);
        ObjectWriter writer = MAPPER.writerFor(type);
        return Serdes.serdeFrom(
            (topic, value) -> {
                try {
                    return value == null ? null : writer.writeValueAsBytes(value);
                } catch (java.io.IOException error) {
                    throw new java.io.UncheckedIOException(error);
                }
            },
            (topic, data) -> {
                try {
                    return data == null ? null : reader.readValue(data);
                } catch (java.io.IOException error) {
                    throw new java.io.UncheckedIOException(error);
                }
            });
    }

    static void build(StreamsBuilder builder, String[] run, Runnable seen) {
        Serde<String> text = Serdes.String();
        Serde<Click> click = json(Click.class);
        KStream<String, Click> clicks = builder.stream(run[3],
            Consumed.with(text, click)
                .withTimestampExtractor((record, before) -> ((Click) record.value()).ts));
        if (run[0].equals("join")) {
            GlobalKTable<String, User> users =
                builder.globalTable(run[4], Consumed.with(text, json(User.class)));
            clicks.peek((key, value) -> seen.run())
                .join(users, (key, value) -> key, (value, user) -> new Visit(value.url, user.country))
                .to(run[5], Produced.with(text, json(Visit.class)));
            return;
        }
        if (run[0].equals("table")) {
            KTable<String, User> users = builder.table(run[4],
                Consumed.with(text, json(User.class)),
                Materialized.as(Stores.persistentVersionedKeyValueStore("users", MINUTE)));
            clicks.peek((key, value) -> seen.run())
                .join(users, (value, user) -> new Visit(value.url, user.country),
                    Joined.with(text, click, json(User.class)))
                .to(run[5], Produced.with(text, json(Visit.class)));
            return;
        }
        KStream<String, Click> shop = clicks
            .peek((key, value) -> {
                if (!run[0].equals("repartition")) seen.run();
            })
            .filter((key, value) -> value.url.startsWith("/shop/"));
        if (run[0].equals("repartition")) {
            shop = shop.selectKey((key, value) -> value.user)
                .repartition(Repartitioned.with(text, click).withName("by-user"))
                .peek((key, value) -> seen.run());
        }
        TimeWindowedKStream<String, Click> windows = shop
            .groupByKey(Grouped.with(text, click))
            .windowedBy(TimeWindows.ofSizeAndGrace(
                MINUTE, run[0].equals("final") ? Duration.ZERO : GRACE));
        if (run[0].equals("final")) windows = windows.emitStrategy(EmitStrategy.onWindowClose());
        windows.count()
            .toStream()
            .map((window, count) -> KeyValue.pair(
                window.key(), new Count(window.window().start(), window.window().end(), count)))
            .to(run[5], Produced.with(text, json(Count.class)));
    }

    static String measure(String[] run) throws Exception {
        long expected = Long.parseLong(run[6]);
        AtomicLong count = new AtomicLong();
        CountDownLatch ready = new CountDownLatch(1);
        CountDownLatch done = new CountDownLatch(1);
        StreamsBuilder builder = new StreamsBuilder();
        build(builder, run, () -> {
            if (count.incrementAndGet() == expected) done.countDown();
        });
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, run[1]);
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, run[2]);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, run[7]);
        config.put(StreamsConfig.STATE_DIR_CONFIG,
            Files.createTempDirectory("clicks-streams").toString());
        KafkaStreams streams = new KafkaStreams(builder.build(), config);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) ready.countDown();
            if (now == KafkaStreams.State.ERROR) System.exit(1);
        });
        streams.start();
        ready.await();
        long begin = System.nanoTime();
        long beginCpu = SYSTEM.getProcessCpuTime();
        done.await();
        streams.close();
        double seconds = (System.nanoTime() - begin) / 1e9;
        double cpu = (SYSTEM.getProcessCpuTime() - beginCpu) / 1e9;
        streams.cleanUp();
        return seconds + " " + cpu;
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(measure(line.split(" ")));
        }
    }
}
