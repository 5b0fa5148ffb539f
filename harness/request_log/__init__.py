"""Request logs of load generators and servers, as plain rows. One reader a format; no energy here."""
