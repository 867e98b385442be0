"""The texts the recognisers were tuned on; no name, template or format is shared with `held_out`."""

from benchmarks.masking.corpus import Sources

TUNING = Sources(
    name="tuning",
    templates=[
        "Patient: {name}, DOB: {dob}, MRN {mrn}. Presents with chest pain radiating to the left arm.",
        "{name} is a 54-year-old man with type 2 diabetes. Mr {surname} takes Metformin 1 g twice daily.",
        "Seen in clinic by Dr. {name2}. {name} (DOB {dob}) reports fatigue since June. Call {phone} with results.",
        "Discharge summary for {name}, hospital no. {mrn}. Next of kin: {name2}, tel {phone}. Address: {address}.",
        "My name is {name} and I was born on {dob}. My email is {email}. Why does my knee hurt?",
        "Hi, I'm {name}, you can reach me at {phone} or {email}. How will sea level rise affect my town?",
        "Dear Dr {surname},\nThank you for referring {name2}, aged {age}, of {address}.\nKind regards,\n{name3}",
        "NHS number {nhs}. The patient {name} lives at {address} with her daughter {given2}.",
        "SSN: {ssn}; insurance ID {mrn}; card on file {card}.",
        "Please transfer it to {iban}, account of {name}.",
        "User logged in from {ip}; profile {url}.",
        "A {age}-year-old woman with a hip fracture; her son, {name}, consented.",
        "{reversed} MRN: {mrn} D.O.B. {dob}\nAssessment: stable angina.",
        "pt {name} c/o headache x3 days. wife {given2} called from {phone}.",
        "Hello, this is {name} from {address}. Is carbon capture worth it?",
        "my name is {lower} and my phone number is {phone}",
        "The tracing of segment 42 was proofread by {name}; {surname} missed two merge errors near the soma.",
        "Reviewer: {name}\nComment: the response confuses weather and climate. Contact: {email}",
        "PATIENT NAME: {upper}\nDATE OF BIRTH: {dob}\nPHONE: {phone}\nADDRESS: {address}",
        "She told {name} that the date of birth on file, {dob}, is wrong. Policy number {mrn}.",
    ],
    given="James Maria Olivia Ahmed Wei Priya Thandiwe Zebulon Ingrid Kofi Mateusz Aoife".split(),
    surnames="Smith Okonkwo Garcia Patel O'Brien Nguyen Kowalski Haddad Lindqvist Whitfield".split(),
    streets=["Maple Street", "Old Mill Road", "Birch Avenue", "King's Lane", "5th Avenue"],
    towns=[("Springfield", "IL", "627##"), ("Leeds", "", "LS1 4@@"), ("Austin", "TX", "787##")],
    hosts=["example.org", "mail.example.com"],
    birth_formats=["{d:02}/{m:02}/{y}", "{y}-{m:02}-{d:02}", "{d} {M} {y}", "{M} {d}, {y}"],
    phone_formats=[
        "(617) 555-01##",
        "617-555-01##",
        "+1 617 555 01##",
        "020 7946 0###",
        "07700 900###",
    ],
    record_formats=["########", "A######", "##-##-###", "MR######"],
    address_formats=[
        "{house} {street}, {town}, {state} {code}",
        "{house} {street}",
        "Flat {flat}, {house} {street}, {town}",
    ],
    plain=[
        "Atmospheric CO2 passed 420 ppm in May 2022, and the Mauna Loa record shows no pause. The Paris Agreement aims at"
        " 1.5 C above the level of 1850 to 1900. Emissions of New Zealand and Norway differ in their shares of methane.",
        "Parkinson's disease is treated with Levodopa and Carbidopa; Crohn's disease with Infliximab. Hodgkin lymphoma"
        " responds to ABVD. In Wilson disease, give Penicillamine. Graves' disease causes exophthalmos.",
        "Purkinje cells receive climbing fibres. The Golgi stain showed 42 segments between coordinates 1024, 2048 and 512."
        " Hubel and Wiesel described orientation columns in 1962. See Smith et al. (2019) for the Mann-Whitney test.",
        "Hurricane Katrina reached New Orleans on 29 August 2005, and Hurricane Maria reached Puerto Rico in 2017. Lake"
        " Victoria rose by 1.2 m between 2019 and 2021. In Virginia, May was the driest month since 1895.",
        "The patient is a 67-year-old woman with atrial fibrillation on Warfarin 5 mg, INR 2.4 on 12/03/2021. Blood"
        " pressure 142/86, heart rate 78. Start Bisoprolol 2.5 mg once daily and review in 2 weeks on 26/03/2021.",
    ],
)
