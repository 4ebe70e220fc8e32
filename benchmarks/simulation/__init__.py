"""A discrete-event simulation of the pipeline: topics, consumers, rebalances and an autoscaler, by simpy."""
