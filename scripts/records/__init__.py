"""The files that the workflow writes and reads back, each as one typed record: what a key holds, its unit, why null."""
